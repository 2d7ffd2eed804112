"""What sources say of the addresses of a transaction: plain text beside them, and a table of all.

Labels are others' text, so they stand in `st.text` and `st.dataframe` only, which show markup as it is.
"""

from collections.abc import Mapping, Sequence

import streamlit as st

from blockscan.safetext import safe_text
from blockscan.store_labels import Label
from dashboard.wording import cell_text

_BESIDE = 3


def label_text(label: Label) -> str:
    """A label in one line: name, source, date, confidence."""
    sure = "confidence not stated" if label.confidence is None else f"confidence {label.confidence:.0%}"
    return f"{safe_text(label.name)} ({safe_text(label.source)}, {safe_text(label.date)}, {sure})"


def beside(address: str | None, labels: Mapping[str, Sequence[Label]]) -> None:
    """Draw the first labels of an address where the page is."""
    for label in labels.get(address or "", ())[:_BESIDE]:
        st.text(label_text(label))


def label_table(labels: Mapping[str, Sequence[Label]]) -> None:
    """Draw every label; nothing where there is none."""
    if not labels:
        return
    st.subheader("Known addresses")
    rows = [
        {
            "address": cell_text(label.address),
            "name": cell_text(label.name),
            "source": cell_text(label.source),
            "date": cell_text(label.date),
            "confidence": label.confidence,
        }
        for each in labels.values()
        for label in each
    ]
    percent = st.column_config.NumberColumn(format="percent")
    st.dataframe(rows, hide_index=True, width="stretch", column_config={"confidence": percent})
