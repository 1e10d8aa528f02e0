"""A few hundred damaged files; `make faults` runs ten thousand."""

from tests.faults.fuzz import fuzz
from tests.faults.mutations import MUTATIONS, damaged_file


def test_damaged_files_end_as_records_or_as_a_reason_and_take_nothing_down(tmp_path):
    findings = fuzz(tmp_path, 300, seed=1)
    by_outcome = findings.by_outcome()
    assert sum(by_outcome.values()) == 300
    assert set(by_outcome) == {"ingested", "corrupt_audio", "truncated_audio", "empty_audio", "too_short"}
    assert {mutation for mutation, _ in findings.outcomes} == {mutation.__name__ for mutation in MUTATIONS}
    assert findings.flagged


def test_damaged_m4a_ogg_and_wma_files_do_neither(tmp_path):
    findings = fuzz(tmp_path, 50, seed=1, family="containers")
    by_outcome = findings.by_outcome()
    assert sum(by_outcome.values()) == 50
    assert set(by_outcome) <= {"ingested", "corrupt_audio", "truncated_audio", "empty_audio", "too_short"}
    assert by_outcome["ingested"] and by_outcome["corrupt_audio"]


def test_a_seed_gives_the_same_files_every_time():
    first, again, other = ([damaged_file(seed, i) for i in range(20)] for seed in (1, 1, 2))
    assert first == again != other


def test_what_the_decoder_remarks_stays_off_the_terminal(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("FMA_DEBUG", raising=False)
    fuzz(tmp_path, 60, seed=2)
    assert "mpg123" not in capfd.readouterr().err
