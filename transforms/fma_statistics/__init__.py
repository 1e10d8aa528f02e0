"""FMA's 518 statistics of a track, in FMA's column order, from a stream of samples.

The values are those of FMA's features.py (github.com/mdeff/fma) run with librosa 0.11 on the same samples, with one
argument added: bins_per_octave=12 for both chroma of the constant-Q transform, librosa's default when FMA was made. As
in that script, only zcr, the constant-Q transform and the mel bands know the sample rate; all else is in units of
22,050 Hz. librosa's definitions have moved since 2017 (its rms is now that of the samples, say), so values mean what
those in FMA's features.csv mean, but are not equal to them.

Largest difference from that reference that the tests allow, in the feature's own unit (`TOLERANCE` there); on 181 real
clips it was a fifth of it or less:

    rmse, zcr                    1e-6      spectral_contrast                                1e-4 dB
    chroma_stft                  2e-5      spectral_bandwidth, _centroid, _rolloff          0.002 Hz
    chroma_cqt                   2e-4      mfcc                                             0.005
    chroma_cens, tonnetz         0.02

Skew and kurtosis may differ by 0.002 + 0.2% instead, those of chroma_cens and tonnetz by 0.05 + 5%: CENS quantizes, so
about one frame in a million falls on the other side of a step.
"""
