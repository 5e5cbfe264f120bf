// A list of names with figures and bars.

// rows: { name, figure, fraction }; fraction in [0, 1], or null for no bar. Names are text, never markup.
export function barItems(rows) {
  return rows.map(({ name, figure, fraction }) => {
    const item = document.createElement("li");
    item.append(span("name", name), span("figure", figure));
    if (fraction !== null) {
      const bar = span("bar", "");
      bar.style.setProperty("--fraction", Math.min(1, Math.max(0, fraction)));
      item.append(bar);
    }
    return item;
  });
}

function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}
