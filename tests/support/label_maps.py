"""Random label maps, and sizes of feature maps."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SIZE = st.tuples(st.integers(1, 14), st.integers(1, 14))
MAP_SIZE = st.tuples(st.integers(1, 9), st.integers(1, 9))  # often finer than the picture


@st.composite
def label_maps(draw):
    raw = draw(hnp.arrays(np.int64, SIZE, elements=st.integers(0, 6)))
    return np.unique(raw, return_inverse=True)[1].reshape(raw.shape).astype(np.int32)
