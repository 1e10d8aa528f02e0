"""What the HTTP API answers, as its OpenAPI document describes it."""

from pydantic import BaseModel, Field


class Genre(BaseModel):
    """A genre and how likely it is."""

    genre: str
    probability: float = Field(ge=0, le=1, description="calibrated on the validation split")


class Window(BaseModel):
    """A stretch of the song."""

    start: float = Field(description="seconds")
    end: float = Field(description="seconds")
    probabilities: list[float] = Field(description="in the order of the labels of /model")


class Neighbour(BaseModel):
    """A training track that the model finds alike."""

    track_id: int
    similarity: float = Field(ge=-1, le=1, description="cosine between what the model makes of both")
    genre: str = ""
    title: str = ""
    artist: str = ""
    license: str = ""


class Picture(BaseModel):
    """The song's mel spectrogram."""

    bands: int
    columns: int
    seconds: float = Field(description="that the columns cover, from the song's start")
    data: str = Field(description="base64 of bands x columns bytes, row by row, the lowest band first")


class Prediction(BaseModel):
    """The song's genres."""

    verdict: str = Field(description="the most likely genre, or `unsure`")
    genres: list[Genre] = Field(description="all of them, the most likely first")
    seconds: float
    windows: int = Field(description="that were judged; 0 for a model that judges whole songs only")
    silent: bool = Field(description="whether the song is digital silence")
    timeline: list[Window] | None = Field(None, description="where it was asked for")
    nearest: list[Neighbour] | None = Field(None, description="where it was asked for; the most alike first")
    spectrogram: Picture | None = Field(None, description="where it was asked for")


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="the reason, one word")
    message: str = Field(description="what was found")


class Health(BaseModel):
    """Whether the server answers."""

    status: str


class ModelFacts(BaseModel):
    """What answers, and what it can."""

    run: str
    model: str
    labels: list[str]
    sample_rate: int = Field(description="Hz, that songs are resampled to")
    window_seconds: float
    by_window: bool = Field(description="whether there are timelines")
    threshold: float = Field(description="verdicts below it are `unsure`")
    temperature: float
    neighbours: int = Field(description="training tracks that are compared with; 0 without --data")
    most_bytes: int = Field(description="of a song's file")
    most_seconds: float = Field(description="that one song may take")
