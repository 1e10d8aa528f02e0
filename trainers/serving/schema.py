"""The API's answers, as its OpenAPI document describes them."""

from typing import Literal

from pydantic import BaseModel, Field


class Genre(BaseModel):
    """A genre and how likely it is."""

    genre: str
    probability: float = Field(ge=0, le=1, description="calibrated on the validation split")


class TreeGenre(BaseModel):
    """A genre, where it stands in the tree, and whether the song has it."""

    genre: str
    parent: str = Field(description="the genre above it, or empty at the top")
    probability: float = Field(ge=0, le=1)
    threshold: float = Field(ge=0, description="the genre is predicted from that probability on")
    predicted: bool = Field(description="whether it, or a genre below it, reaches its threshold")


class Window(BaseModel):
    """A stretch of the song."""

    start: float = Field(description="seconds")
    end: float = Field(description="seconds")
    probabilities: list[float] = Field(description="in the order of the labels of /model")


class Neighbour(BaseModel):
    """A training track that is similar for the model."""

    track_id: int | str = Field(description="as the metadata has it")
    similarity: float = Field(ge=-1, le=1, description="cosine between the model's features of both")
    genre: str = Field("", description="its top genre")
    genres: list[str] | None = Field(None, description="all of its genres, of a model of many genres")
    title: str = ""
    artist: str = ""
    license: str = ""


class Tag(BaseModel):
    """A tag and how likely it is, for a network that the run did not train."""

    tag: str
    probability: float = Field(ge=0, le=1, description="mean over the song; a song may have any number of tags")


class Picture(BaseModel):
    """The song's mel spectrogram."""

    bands: int
    columns: int
    seconds: float = Field(description="that the columns cover, from the song's start")
    data: str = Field(description="base64 of bands x columns bytes, row by row, the lowest band first")


class Song(BaseModel):
    """What is found in a song beside its genres."""

    seconds: float
    windows: int = Field(description="that were predicted; 0 for a model that predicts whole songs only")
    silent: bool = Field(description="whether the song is digital silence")
    timeline: list[Window] | None = Field(None, description="if asked for")
    nearest: list[Neighbour] | None = Field(None, description="if asked for; the most similar first, never the song")
    in_training: bool | None = Field(
        None, description="with nearest: whether the model was trained on this very recording, so that it knows it"
    )
    novelty: float | None = Field(
        None,
        description="how unlike the training's music the song is, 1 is the limit; where the run knows",
    )
    unlike_training: bool | None = Field(None, description="whether it is; there is no verdict then")
    tags: list[Tag] | None = Field(None, description="of a server with --tags; the likeliest first, none of silence")
    spectrogram: Picture | None = Field(None, description="if asked for")


class _Label(BaseModel):
    verdict: str = Field(description="the most likely genre, or `unsure`")
    genres: list[Genre] = Field(description="all of them, the most likely first")


class _Genres(BaseModel):
    labels: Literal["all"] = Field(description="a song may have any number of the genres")
    genres: list[TreeGenre] = Field(description="a parent before its children, and of these the likeliest first")


# The bases in this order: pydantic puts the fields of the last one first.
class LabelPrediction(Song, _Label):
    """The song's genre."""


class GenresPrediction(Song, _Genres):
    """The song's genres, along their tree."""


class Health(BaseModel):
    """Whether the server answers."""

    status: str


class Example(BaseModel):
    """A song to try: a test track of the dataset, whose clip is at /clip."""

    track_id: int | str
    title: str
    artist: str
    license: str


class ModelFacts(BaseModel):
    """The model that answers, and the server's limits."""

    run: str
    model: str
    labels: list[str]
    sample_rate: int = Field(description="Hz, that songs are resampled to")
    window_seconds: float
    by_window: bool = Field(description="whether there are timelines")
    threshold: float | None = Field(None, description="verdicts below it are `unsure`; of a model of one label")
    temperature: float | None = Field(None, description="of the calibration; of a model of one label")
    parents: dict[str, str] | None = Field(
        None, description="of each label, empty at the top; of a model of many genres"
    )
    thresholds: list[float] | None = Field(None, description="in the order of the labels; of a model of many genres")
    tagger: str | None = Field(None, description="the network that tags are from; of a server with --tags")
    neighbours: int = Field(description="training tracks that are compared with; 0 without --data")
    clips: bool = Field(description="whether /clip has the sound of these")
    example: Example | None = Field(None, description="of a server with --audio")
    most_bytes: int = Field(description="of a song's file")
    most_seconds: float = Field(description="that one song may take")
    longest_seconds: float | None = Field(description="of a song; null: any length")
