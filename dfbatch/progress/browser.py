"""What the browser runs for the panel: its elements, and its looks. What is drawn is decided in `drawing.py`."""

from __future__ import annotations

from typing import Final

# Everything a user or a server wrote goes in by textContent. Elements are made once and then only changed, so that
# nothing jumps, a selection survives the next second, and a screen reader is not sent back to the start.
ESM: Final = """
function node(tag, name, parent) {
  const made = document.createElement(tag);
  if (name) made.className = "dfb-" + name;
  if (parent) parent.append(made);
  return made;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

function fill(parent, items, make, put) {
  while (parent.children.length > items.length) parent.lastChild.remove();
  while (parent.children.length < items.length) make(parent);
  items.forEach((item, at) => put(parent.children[at], item));
}

function build(el) {
  const root = node("section", "panel", el);
  root.setAttribute("aria-label", "dfbatch progress");
  const top = node("div", "top", root);
  const at = { root, heading: node("strong", "heading", top), model: node("span", "soft", top) };
  const now = node("div", "now", root);
  at.doing = node("span", "", now);
  at.elapsed = node("span", "soft", now);
  at.count = node("span", "count", now);
  at.bar = node("div", "bar", root);
  at.bar.setAttribute("role", "progressbar");
  at.bar.setAttribute("aria-label", "rows that have an outcome");
  at.bar.setAttribute("aria-valuemin", "0");
  at.legend = node("ul", "legend", root);
  at.legend.setAttribute("aria-label", "rows by outcome");
  at.batches = node("div", "batches", root);
  node("span", "soft", at.batches).textContent = "batches";
  at.marks = node("ul", "marks", at.batches);
  at.marks.setAttribute("aria-label", "batches");
  at.more = node("div", "soft", root);
  at.money = node("div", "", root);
  at.facts = node("div", "soft", root);
  at.ends = node("div", "", root);
  at.peek = node("table", "peek", root);
  node("caption", "soft", at.peek).textContent = "first answers";
  at.names = node("tr", "", node("thead", "", at.peek));
  at.rows = node("tbody", "", at.peek);
  at.message = node("div", "message", root);
  at.message.setAttribute("role", "status");
  at.safety = node("div", "safety", root);
  at.actions = node("div", "actions", root);
  at.actions.setAttribute("role", "group");
  at.actions.setAttribute("aria-label", "what can be done");
  at.deaf = node("div", "soft", root);
  at.asked = node("div", "asked", root);
  at.asked.setAttribute("role", "alertdialog");
  at.asked.setAttribute("aria-label", "are you sure?");
  at.asked.hidden = true;
  at.detach = node("div", "soft", root);
  return at;
}

function labelled(parent) {
  const item = node("li", "", parent);
  node("span", "sign", item).setAttribute("aria-hidden", "true");
  node("span", "", item);
}

function button(parent, label, click) {
  const made = node("button", "button", parent);
  made.type = "button";
  made.textContent = label;
  made.onclick = click;
  return made;
}

// What cannot be undone is asked about first, beside the button; Escape is a no.
function ask(at, item, opener, tell) {
  const close = () => {
    at.asked.hidden = true;
    at.asked.replaceChildren();
    opener.focus();
  };
  at.asked.replaceChildren();
  node("span", "", at.asked).textContent = item.ask;
  button(at.asked, "Yes, " + item.label.toLowerCase(), () => { close(); tell(item.say); });
  const no = button(at.asked, "No", close);
  at.asked.onkeydown = (event) => { if (event.key === "Escape") { event.stopPropagation(); close(); } };
  at.asked.hidden = false;
  no.focus();
}

function wish(at) {
  if (at.notify) return;
  at.notify = button(at.actions, "Notify me", async () => {
    const said = await Notification.requestPermission();
    at.wished = said === "granted";
    at.notify.textContent = at.wished ? "You will be notified" : "Notifications are blocked";
    at.notify.disabled = true;
  });
}

function offer(at, state, tell) {
  const known = [...at.actions.children].filter((made) => made !== at.notify);
  const said = known.map((made) => made.dataset.say).join();
  if (said !== state.buttons.map((item) => item.say).join()) {
    const focused = known.find((made) => made === document.activeElement);
    known.forEach((made) => made.remove());
    state.buttons.forEach((item, order) => {
      const made = button(at.actions, item.label, () => (item.ask ? ask(at, item, made, tell) : tell(item.say)));
      made.dataset.say = item.say;
      at.actions.insertBefore(made, at.actions.children[order]);
      if (focused && focused.dataset.say === item.say) made.focus();
    });
  }
  for (const made of at.actions.children) {
    if (made !== at.notify) made.disabled = !state.live;
  }
  if (state.buttons.length && "Notification" in window) wish(at);
  const deaf = state.buttons.length && !state.live;
  say(at.deaf, deaf ? "This kernel does not hear clicks while a cell runs: use its stop button." : "");
}

function show(at, peek) {
  at.peek.hidden = !peek.rows.length;
  const cell = (tag) => (row) => { const made = node(tag, "", row); if (tag === "th") made.scope = "col"; };
  fill(at.names, peek.names, cell("th"), say);
  const put = (made, text) => { if (made.textContent !== text) made.textContent = text; };
  const line = (row, cells) => fill(row, cells, cell("td"), put);
  fill(at.rows, peek.rows, (body) => node("tr", "", body), line);
}

function draw(at, state, tell) {
  for (const key of ["heading", "model", "doing", "elapsed", "count", "more", "message", "ends"]) {
    say(at[key], state[key]);
  }
  say(at.safety, (state.safe ? "\\u2713 " : "\\u26a0 ") + state.safety);
  at.safety.dataset.safe = state.safe;
  say(at.money, state.money.join(" \\u00b7 "));
  say(at.facts, state.facts.join(" \\u00b7 "));
  say(at.detach, state.detach);
  show(at, state.peek);
  offer(at, state, tell);
  at.bar.setAttribute("aria-valuemax", state.rows);
  at.bar.setAttribute("aria-valuenow", state.done);
  at.bar.setAttribute("aria-valuetext", state.spoken);
  fill(at.bar, state.parts, (bar) => node("div", "part", bar), (part, item) => {
    part.style.width = item.width + "%";
    part.style.background = item.colour;
    part.dataset.name = item.name;
  });
  fill(at.legend, state.parts, labelled, (item, part) => {
    say(item.children[0], part.sign);
    item.children[0].style.background = part.colour;
    item.children[0].dataset.name = part.name;
    say(item.children[1], part.count + " " + part.name);
  });
  fill(at.marks, state.marks, labelled, (item, mark) => {
    say(item.children[0], mark.sign);
    say(item.children[1], mark.text);
    item.title = mark.title;
    item.dataset.state = mark.state;
  });
  at.batches.hidden = !state.marks.length;
}

export default {
  render({ model, el }) {
    const at = build(el);
    const tell = (word) => model.send({ say: word });
    const update = () => {
      const state = model.get("state");
      if (state && state.heading) draw(at, state, tell);
    };
    const heard = (told) => {
      if (told && told.ended && at.wished) new Notification("dfbatch", { body: told.ended });
    };
    // Kernels hear on a thread of its own only a moment after the widget was made: said until there is an answer.
    let gone = false;
    const greet = (wait, left) => {
      if (gone || !left || model.get("state").live) return;
      tell("hello");
      setTimeout(() => greet(2 * wait, left - 1), wait);
    };
    model.on("change:state", update);
    model.on("msg:custom", heard);
    update();
    setTimeout(() => greet(200, 8), 50);
    return () => {
      gone = true;
      model.off("change:state", update);
      model.off("msg:custom", heard);
    };
  },
};
"""

CSS: Final = """
.dfb-panel {
  --dfb-text: var(--jp-ui-font-color1, var(--vscode-foreground, inherit));
  --dfb-soft: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, inherit));
  --dfb-edge: var(--jp-border-color1, var(--vscode-panel-border, #7a7f87));
  --dfb-warn: var(--jp-warn-color0, var(--vscode-editorWarning-foreground, #c98a00));
  box-sizing: border-box; max-width: 46em; padding: .6em .8em; border: 1px solid var(--dfb-edge); border-radius: 4px;
  color: var(--dfb-text); font-family: var(--jp-ui-font-family, var(--vscode-font-family, sans-serif));
  font-size: var(--jp-ui-font-size1, 13px); line-height: 1.5; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere;
}
.dfb-panel [hidden] { display: none; }
.dfb-top, .dfb-now { display: flex; flex-wrap: wrap; gap: 0 1em; align-items: baseline; }
.dfb-count { margin-left: auto; }
.dfb-soft { color: var(--dfb-soft); }
.dfb-bar {
  display: flex; box-sizing: border-box; height: 1em; margin: .3em 0; overflow: hidden;
  border: 1px solid var(--dfb-edge); border-radius: 3px;
}
.dfb-part { flex: none; min-width: 2px; background: #7a7f87; transition: width .3s; }
.dfb-part + .dfb-part { box-shadow: inset 1px 0 var(--jp-layout-color0, var(--vscode-editor-background, #fff)); }
.dfb-part[data-name=pending] { flex: 1 1 0; min-width: 0; box-shadow: none; }
.dfb-panel ul { display: flex; flex-wrap: wrap; gap: .1em 1em; list-style: none; margin: .2em 0; padding: 0; }
.dfb-panel li { display: flex; gap: .35em; align-items: baseline; margin: 0; padding: 0; }
.dfb-legend .dfb-sign {
  width: 1.3em; border-radius: 3px; background: #7a7f87; color: #fff; text-align: center; font-weight: bold;
  line-height: 1.3;
}
.dfb-legend .dfb-sign[data-name=pending] { color: inherit; box-shadow: inset 0 0 0 1px var(--dfb-edge); }
.dfb-batches { display: flex; gap: 1em; align-items: baseline; }
.dfb-batches > .dfb-soft { flex: none; }
.dfb-marks .dfb-sign { width: 1.1em; text-align: center; }
.dfb-marks li[data-state="in doubt"], .dfb-marks li[data-state=failed] { font-weight: bold; }
.dfb-actions, .dfb-asked { display: flex; flex-wrap: wrap; gap: .3em .6em; margin: .4em 0 .2em; align-items: baseline; }
.dfb-asked { border-left: 3px solid var(--dfb-warn); padding-left: .5em; }
.dfb-button {
  font: inherit; color: inherit; background: transparent; padding: .1em .8em; cursor: pointer;
  border: 1px solid var(--dfb-edge); border-radius: 3px;
}
.dfb-button:disabled { color: var(--dfb-soft); cursor: not-allowed; border-style: dashed; }
.dfb-button:focus-visible { outline: 2px solid var(--jp-brand-color1, var(--vscode-focusBorder, #1976d2)); }
.dfb-peek { border-collapse: collapse; margin: .4em 0; font-size: inherit; max-width: 100%; table-layout: fixed; }
.dfb-peek caption { text-align: left; caption-side: top; padding: 0; }
.dfb-peek th, .dfb-peek td { text-align: left; vertical-align: top; padding: .1em 1em .1em 0; border: 0; }
.dfb-message { border-left: 3px solid var(--dfb-warn); padding-left: .5em; }
.dfb-safety[data-safe=false] { font-weight: bold; }
@media (prefers-reduced-motion: reduce) { .dfb-part { transition: none; } }
"""
