"""The buckets of the stand-in for Google Cloud Storage: objects with generations, preconditions, resumable uploads.

Only what the real service documents and our three clients use (google-cloud-storage, TensorFlow's gs:// and Beam), but
that strictly: a precondition that does not hold is refused, and a listing has pages.
"""

import base64
import itertools
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import google_crc32c

PAGE = 1000


class RefusedError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Stored:
    """An object as it stands in its bucket."""

    bucket: str
    name: str
    data: bytes
    generation: int
    updated: str
    content_type: str = "application/octet-stream"

    @property
    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()

    def to_json(self) -> dict[str, Any]:
        """The resource that the JSON API gives."""
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "size": str(len(self.data)),
            "crc32c": self.crc32c,
            "contentType": self.content_type,
            "timeCreated": self.updated,
            "updated": self.updated,
            "storageClass": "STANDARD",
            "etag": f"etag{self.generation}",
        }


@dataclass
class Upload:
    """A resumable upload: what has arrived so far, and the object once it is complete."""

    bucket: str
    name: str
    query: dict[str, str]
    crc32c: str | None
    data: bytearray = field(default_factory=bytearray)
    done: Stored | None = None


class Buckets:
    """All buckets; each method is one request, and atomic."""

    def __init__(self, *names: str):
        self._objects: dict[str, dict[str, Stored]] = {name: {} for name in names}
        self._uploads: dict[str, Upload] = {}
        self._numbers = itertools.count(1_700_000_000_000_000)
        self._lock = threading.RLock()

    def create(self, bucket: str) -> None:
        with self._lock:
            self._objects.setdefault(bucket, {})

    def names(self, bucket: str) -> list[str]:
        """Return the names of a bucket's objects, in order."""
        with self._lock:
            return sorted(self._in(bucket))

    def _in(self, bucket: str) -> dict[str, Stored]:
        if bucket not in self._objects:
            raise RefusedError(404, "The specified bucket does not exist.")
        return self._objects[bucket]

    def check_bucket(self, bucket: str) -> dict[str, Any]:
        with self._lock:
            self._in(bucket)
            facts = {"location": "US-CENTRAL1", "locationType": "region", "hierarchicalNamespace": {"enabled": False}}
            return {"kind": "storage#bucket", "name": bucket} | facts

    def get(self, bucket: str, name: str, query: dict[str, str]) -> Stored:
        with self._lock:
            found = self._in(bucket).get(name)
            if found is None or query.get("generation", str(found.generation)) != str(found.generation):
                raise RefusedError(404, f"No such object: {bucket}/{name}")
            self._check(found, query)
            return found

    def put(self, bucket: str, name: str, data: bytes, query: dict[str, str], crc32c: str | None = None) -> Stored:
        with self._lock:
            objects = self._in(bucket)
            self._check(objects.get(name), query)
            updated = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            stored = Stored(bucket, name, bytes(data), next(self._numbers), updated)
            if crc32c not in (None, stored.crc32c):
                raise RefusedError(400, f"Provided CRC32C {crc32c} doesn't match calculated CRC32C {stored.crc32c}.")
            objects[name] = stored
            return stored

    def delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
        with self._lock:
            self.get(bucket, name, query)
            del self._objects[bucket][name]

    def _check(self, found: Stored | None, query: dict[str, str]) -> None:
        wanted = query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != (found.generation if found else 0):
            raise RefusedError(412, "At least one of the pre-conditions you specified did not hold.")

    def list_page(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        with self._lock:
            objects = dict(self._in(bucket))
        prefix, delimiter, after = query.get("prefix", ""), query.get("delimiter"), query.get("pageToken", "")
        page = min(PAGE, int(query.get("maxResults", PAGE)))
        entries: dict[str, Stored | None] = {}
        for name in sorted(objects):
            if name.startswith(prefix):
                head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
                entries[prefix + head + delimiter if found and delimiter else name] = None if found else objects[name]
        rest = [entry for entry in sorted(entries) if entry > after]
        shown = rest[:page]
        result: dict[str, Any] = {"kind": "storage#objects"}
        items = [stored.to_json() for entry in shown if (stored := entries[entry])]
        prefixes = [entry for entry in shown if entries[entry] is None]
        result |= {"items": items} if items else {}
        result |= {"prefixes": prefixes} if prefixes else {}
        return result | ({"nextPageToken": shown[-1]} if len(rest) > page else {})

    def compose(self, bucket: str, name: str, sources: list[str], query: dict[str, str]) -> Stored:
        if len(sources) > 32:
            raise RefusedError(400, "The number of source components provided exceeds the maximum of 32.")
        with self._lock:
            data = b"".join(self.get(bucket, source, {}).data for source in sources)
            return self.put(bucket, name, data, query)

    def begin_upload(self, bucket: str, name: str, query: dict[str, str], crc32c: str | None) -> str:
        """The id of a new resumable upload."""
        with self._lock:
            self._check(self._in(bucket).get(name), query)
            upload_id = f"upload-{next(self._numbers)}"
            self._uploads[upload_id] = Upload(bucket, name, query, crc32c)
            return upload_id

    def continue_upload(self, upload_id: str, data: bytes, start: int | None, total: int | None) -> Upload:
        """Add what arrived; without a start (a question how far it came) nothing."""
        with self._lock:
            upload = self._uploads.get(upload_id)
            if upload is None:
                raise RefusedError(404, "No such upload.")
            if upload.done:
                return upload
            if start is not None:
                if start > len(upload.data):
                    raise RefusedError(400, f"Bytes from {start} on, where {len(upload.data)} have arrived.")
                upload.data[start:] = data
            if total == len(upload.data):
                upload.done = self.put(upload.bucket, upload.name, upload.data, upload.query, upload.crc32c)
            return upload
