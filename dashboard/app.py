"""The dashboard's entry: `streamlit run dashboard/app.py`, as dashboard.launch starts it."""

import streamlit as st

from blockscan.errors import BlockScanError
from blockscan.safetext import safe_text

# The navigation stands at the top: the space that a wider header would need goes to the content.
_STYLE = """<style>
.stMainBlockContainer { padding-top: 4.2rem; padding-bottom: 2rem; }
.stCode code { font-size: 0.78rem; }
.stCode pre { padding: 0.5rem 0.75rem; }
</style>"""

# Without an icon of our own the browser would fetch that of the view from a font host.
_ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect x="3" y="3" width="26" height="26" rx="4" fill="#2f6690"/>
<path d="M9 10h14M13 16h10M17 22h6" stroke="#fff" stroke-width="3"/></svg>"""


def main() -> None:
    """Lay out the navigation and run the chosen view; an unreadable store is a message, not a traceback."""
    st.set_page_config(page_icon=_ICON, layout="wide")
    page = st.navigation(
        [
            st.Page("views/overview.py", title="Overview", icon=":material/monitoring:", default=True),
            st.Page("views/alerts.py", title="Alerts", icon=":material/notifications:"),
            st.Page("views/transaction.py", title="Transaction", icon=":material/account_tree:"),
        ],
        position="top",
    )
    st.set_page_config(page_title=f"{page.title} · BlockScan")
    st.html(_STYLE)
    try:
        page.run()
    except BlockScanError as error:
        st.error("The results cannot be read or written.", icon=":material/error:")
        st.text(safe_text(str(error), limit=600))


if __name__ == "__main__":
    main()
