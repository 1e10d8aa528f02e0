"""The map of the dataset: which tracks an encoder finds similar, as a picture in which every track has its name."""

from collections.abc import Sequence

import numpy as np

from trainers.report.html import Frame, Html, count, drawing, element, paragraph, percent, section
from trainers.report.listening import Tracks, name_of
from transforms.dataset.neighbours import share_of_same
from transforms.dataset.track_map import Group, TrackMap, describe
from transforms.tracks import artist_key

SIZE = (960.0, 620.0)
RADIUS = 5.0  # of a mark, of up to MANY tracks
MANY = 500


def track_maps(maps: Sequence[TrackMap], tracks: Tracks) -> Html:
    """Return the section, with a map for each encoder."""
    drawn = [element("figure", element("figcaption", describe(one), "."), _draw(one, tracks)) for one in maps]
    shares = [paragraph(_share(one, tracks)) for one in maps]
    return section(
        "map",
        "Map of the dataset",
        shares,
        drawn,
        paragraph(
            "A track's name shows where the pointer rests on it. Directions and the distances between groups mean "
            "nothing; a track among those of another genre sounds like them to the encoder, or is labelled wrongly.",
            class_="note",
        ),
    )


def _share(track_map: TrackMap, tracks: Tracks) -> str:
    """Say how far neighbours agree on the genre, and how far any two tracks do."""
    label = track_map.label
    artist = np.array([artist_key(tracks[number].artist) for number in track_map.track_id.tolist()])
    same = share_of_same(track_map.vectors, label, artist)
    shares = np.bincount(label[label >= 0]) / max(1, (label >= 0).sum())
    by_chance = percent(float((shares**2).sum()))
    return (
        f"By the embeddings of {track_map.encoder}, the nearest track of another artist has the same top genre for "
        f"{percent(same)} of the tracks; one drawn at random would have it for {by_chance}."
    )


def _draw(track_map: TrackMap, tracks: Tracks) -> Html:
    frame = Frame(*SIZE, (0.0, 1.0), (0.0, 1.0))
    radius = RADIUS if len(track_map.track_id) <= MANY else 0.7 * RADIUS
    groups = [_draw_group(frame, radius, track_map, group, tracks) for group in track_map.groups]
    keys = [
        (element("span", _key(group), f"{group.name} ({len(group.rows):,})", class_="entry"), " ")
        for group in track_map.groups
    ]
    label = f"{describe(track_map)}: {count(len(groups), 'group')}, by genre"
    return element("div", paragraph(keys, class_="legend"), drawing(frame, label, groups), class_="map")


def _draw_group(frame: Frame, radius: float, track_map: TrackMap, group: Group, tracks: Tracks) -> Html:
    marks = []
    for row in group.rows.tolist():
        x, y = track_map.places[row].tolist()
        title = element("title", f"{name_of(int(track_map.track_id[row]), tracks)}: {group.name}")
        marks.append(_mark(group.shape, frame.at_x(x), frame.at_y(y), radius, title))
    return element("g", marks, fill=group.colour)


def _mark(shape: str, x: float, y: float, radius: float, *children: Html) -> Html:
    if shape == "circle":
        return element("circle", *children, cx=x, cy=y, r=radius)
    if shape == "square":
        side = 1.7 * radius
        return element("rect", *children, x=x - side / 2, y=y - side / 2, width=side, height=side)
    path = f"M{x:.2f} {y - 1.2 * radius:.2f}l{1.2 * radius:.2f} {2.1 * radius:.2f}h{-2.4 * radius:.2f}z"
    return element("path", *children, d=path)


def _key(group: Group) -> Html:
    mark = _mark(group.shape, 7, 7, RADIUS)
    return element("svg", mark, viewBox="0 0 14 14", fill=group.colour, class_="sample", aria_hidden="true")
