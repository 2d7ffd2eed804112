"""A page chooser that survives a list growing shorter."""

from typing import Literal

import streamlit as st


def choose_page(pages: int, *, key: str, bind: Literal["query-params"] | None = None) -> int:
    """Let the user choose one of `pages`, counted from 1; nothing is drawn where there is one only."""
    if pages <= 1:
        return 1
    # A filter may have left fewer pages than the one that was chosen before.
    if st.session_state.get(key, 1) > pages:
        st.session_state[key] = pages
    return int(st.number_input(f"Page of {pages:,}", 1, pages, key=key, bind=bind, width=160))
