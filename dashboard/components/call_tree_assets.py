"""What the browser needs to draw the call tree: constants, never mixed with chain text in Python."""

HTML = """<div class="legend"></div><div class="tree" role="tree" aria-label="call tree"></div>"""

# One hue whose strength grows: readable in grey, in light and in dark; every colour also has its words.
CSS = """
.legend, .tree { font-family: var(--st-font); color: var(--st-text-color); font-size: 0.85rem; }
.legend { display: flex; gap: 0.4rem; align-items: center; margin-bottom: 0.5rem; flex-wrap: wrap; }
.tree { max-height: 640px; overflow: auto; border: 1px solid var(--st-border-color); border-radius: 0.5rem; }
.row { display: flex; align-items: center; gap: 0.5rem; padding: 0.18rem 0.6rem 0.18rem 0.3rem;
  cursor: pointer; white-space: nowrap; border-left: 4px solid transparent; min-width: max-content; }
.row:hover { background: color-mix(in srgb, var(--st-text-color) 7%, transparent); }
.row:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: -2px; }
.row.selected { border-left-color: var(--st-primary-color);
  background: color-mix(in srgb, var(--st-primary-color) 14%, transparent); }
.gap { cursor: default; opacity: 0.6; font-style: italic; font-size: 0.75rem; }
.fold { width: 1.1rem; border: 0; padding: 0; background: none; color: inherit; cursor: pointer;
  font-size: 0.7rem; }
.heat { border-radius: 0.3rem; padding: 0 0.4rem; min-width: 5.2rem; text-align: center; font-size: 0.75rem; }
.legend .heat { min-width: 0; }
.indent { flex: none; }
.heat0 { opacity: 0.55; }
.heat1 { background: rgba(209, 73, 40, 0.15); }
.heat2 { background: rgba(209, 73, 40, 0.38); }
.heat3 { background: rgb(196, 62, 30); color: #fff; }
.heat4 { background: rgb(128, 20, 40); color: #fff; font-weight: 700; }
.kind { font-weight: 600; }
.code { font-family: var(--st-code-font); font-size: 0.8rem; }
.node { min-width: 2.2rem; text-align: right; }
.node, .depth, .value { opacity: 0.7; font-size: 0.75rem; }
.error { color: var(--st-red-text-color, #b3261e); font-size: 0.8rem; }
"""

JS = """
const DEEPEST_INDENT = 16;

function piece(name, text, title) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  if (title) element.title = title;
  return element;
}

function gapRow(row) {
  const element = document.createElement("div");
  element.className = "row gap";
  const frames = row.gap === 1 ? " frame" : " frames";
  const note = "… " + row.gap.toLocaleString("en") + frames + " not shown";
  element.append(piece("heat", ""), piece("node", ""), indent(row.depth), piece("fold", ""), piece("", note));
  return element;
}

function indent(depth) {
  const element = piece("indent", "");
  element.style.width = 18 * Math.min(depth, DEEPEST_INDENT) + "px";
  return element;
}

function frameRow(row, labels, view) {
  const element = document.createElement("div");
  element.className = "row" + (row.place === view.selected ? " selected" : "");
  element.dataset.place = String(row.place);
  element.setAttribute("role", "treeitem");
  element.setAttribute("aria-level", String(row.depth + 1));
  element.setAttribute("aria-selected", String(row.place === view.selected));
  element.tabIndex = 0;
  const fold = document.createElement(row.parent ? "button" : "span");
  fold.className = "fold";
  if (row.parent) {
    const closed = view.closed.has(row.place);
    element.setAttribute("aria-expanded", String(!closed));
    fold.textContent = closed ? "▶" : "▼";
    fold.setAttribute("aria-label", closed ? "expand" : "collapse");
    fold.onclick = (event) => { event.stopPropagation(); view.toggle(row.place); };
  }
  const heat = piece("heat heat" + Number(row.level), labels[row.level]);
  element.append(heat, piece("node", row.node, row.node && "frame " + row.node), indent(row.depth), fold);
  element.append(piece("kind", row.kind));
  if (row.depth > DEEPEST_INDENT) element.append(piece("depth", "depth " + row.depth));
  element.append(piece("code", row.target, row.target_full));
  if (row.selector) element.append(piece("code", row.selector));
  if (row.value) element.append(piece("value", "value " + row.value));
  if (row.error) element.append(piece("error", "✗ " + row.error));
  element.onclick = () => view.select(row.place);
  element.onkeydown = (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); view.select(row.place); }
  };
  return element;
}

export default function ({ parentElement, data, setStateValue }) {
  const tree = parentElement.querySelector(".tree");
  const legend = parentElement.querySelector(".legend");
  const closed = (tree.closedNodes ??= new Set());
  legend.replaceChildren(
    piece("", "How rare the rarest value or fact is:"),
    ...data.labels.map((label, level) => piece("heat heat" + level, label)),
  );
  const rows = data.rows.map((row, place) => {
    const next = data.rows[place + 1];
    return { ...row, parent: row.gap === undefined && next !== undefined && next.depth > row.depth };
  });
  const view = { closed, selected: data.selected };
  view.select = (place) => { view.selected = place; draw(); setStateValue("selected", place); };
  view.toggle = (place) => { closed.has(place) ? closed.delete(place) : closed.add(place); draw(); };
  function draw() {
    const elements = [];
    let hiddenBelow = Infinity;
    for (const row of rows) {
      if (row.depth > hiddenBelow) continue;
      hiddenBelow = row.gap === undefined && closed.has(row.place) ? row.depth : Infinity;
      elements.push(row.gap === undefined ? frameRow(row, data.labels, view) : gapRow(row));
    }
    tree.replaceChildren(...elements);
  }
  draw();
}
"""
