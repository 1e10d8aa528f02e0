from dataclasses import replace

import pytest

from transforms.config import DatasetConfig, differences, validate
from transforms.errors import UsageError

KINDS = ("mel", "raw", "stats")


def test_a_30_second_clip_has_five_windows_of_5_2_seconds():
    config = DatasetConfig()
    assert config.window_samples == 114_688
    assert config.window_seconds == pytest.approx(5.2, abs=0.01)
    assert config.count_windows(1_321_967 // 2) == 5
    assert config.count_windows(114_688) == 1
    assert config.count_windows(114_687) == 0


def test_settings_come_back_from_json_with_the_same_digest():
    config = DatasetConfig(features=("mel",), n_mels=64)
    assert DatasetConfig.from_json(config.to_json()) == config
    assert DatasetConfig.from_json(config.to_json()).digest == config.digest
    assert DatasetConfig().digest != config.digest


def test_bad_settings_are_named_all_at_once():
    with pytest.raises(UsageError) as error:
        validate(replace(DatasetConfig(), hop_length=0, n_mels=5000, features=("mel", "chroma")), KINDS)
    for part in ("--hop-length", "--n-mels", "unknown kind chroma"):
        assert part in str(error.value)


def test_features_are_put_in_table_order():
    assert validate(DatasetConfig(features=("stats", "mel")), KINDS).features == ("mel", "stats")


def test_differences_name_the_setting_and_both_values():
    assert differences(DatasetConfig(), replace(DatasetConfig(), n_mels=64)) == ["n_mels is 224, not 64"]
