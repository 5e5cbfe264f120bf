// Serious accessibility faults of the page, as a list of sentences (after WCAG 2.1 A and AA, and
// the serious rules of axe-core that apply to pages like ours).
(() => {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const name = (element) => (element.outerHTML || "").slice(0, 90);
  const check = (isFine, rule, element) => { if (!isFine) faults.push(`${rule}: ${name(element)}`); };
  const text = (element) => (element?.textContent || "").trim();
  const label = (element) =>
    element.getAttribute("aria-label") || text(document.getElementById(element.getAttribute("aria-labelledby"))) ||
    text(element) || element.getAttribute("title");

  check(document.documentElement.lang, "html has a lang", document.documentElement);
  check(document.title.trim(), "the page has a title", document.head);
  const viewport = document.querySelector("meta[name=viewport]")?.content || "";
  check(!/user-scalable=no|maximum-scale=1/.test(viewport), "the page can be zoomed", document.head);
  check(all("main").length === 1, "there is one main", document.body);
  check(all("h1").length === 1, "there is one h1", document.body);
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6")) {
    check(Number(heading.tagName[1]) <= level + 1, "headings skip no level", heading);
    check(text(heading), "headings have text", heading);
    level = Number(heading.tagName[1]);
  }
  const ids = all("[id]").map((element) => element.id);
  check(new Set(ids).size === ids.length, "ids are unique", document.body);
  for (const image of all("img")) check(image.hasAttribute("alt"), "images have alt", image);
  for (const svg of all("svg")) check(svg.getAttribute("role") === "img" && svg.getAttribute("aria-label"), "drawings have a label", svg);
  for (const element of all("button, a[href], summary, [role=button]")) check(label(element), "controls have a name", element);
  for (const field of all("input, select, textarea")) check(text(field.closest("label")) || field.getAttribute("aria-label"), "fields have a label", field);
  for (const link of all("a[href^='#']")) check(document.getElementById(link.hash.slice(1)), "links lead somewhere", link);
  for (const element of all("[aria-controls]")) check(document.getElementById(element.getAttribute("aria-controls")), "aria-controls exists", element);
  for (const element of all("[aria-hidden=true]")) check(!element.querySelector("a, button, input, [tabindex]"), "nothing hidden takes the focus", element);
  for (const element of all("[tabindex]")) check(element.tabIndex <= 0, "no tabindex above 0", element);
  for (const element of all("[role=region], nav")) check(element.getAttribute("aria-label") || element.getAttribute("aria-labelledby"), "landmarks have a name", element);
  for (const item of all("li")) check(["UL", "OL", "MENU"].includes(item.parentElement.tagName), "list items are in a list", item);
  for (const list of all("ul, ol")) check([...list.children].every((child) => ["LI", "TEMPLATE", "SCRIPT"].includes(child.tagName)), "lists hold items", list);
  for (const item of all("dt, dd")) check(item.closest("dl"), "terms are in a dl", item);
  for (const table of all("table")) {
    check(table.caption || table.getAttribute("aria-label"), "tables have a caption", table);
    for (const head of table.querySelectorAll("th")) check(head.scope, "table heads have a scope", head);
  }
  for (const element of all("*")) {
    const style = getComputedStyle(element);
    if (/(auto|scroll)/.test(style.overflowX + style.overflowY) && (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1)) {
      check(element.tabIndex >= 0 || element.querySelector("a, button, input"), "what scrolls can be reached by keyboard", element);
    }
  }

  // Contrast: 4.5 to 1, large text 3 to 1, over the colours that lie below it.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
  const background = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(rgba(getComputedStyle(e).backgroundColor));
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    return layers.reduce((below, layer) => over(layer, below), dark ? [18, 18, 18] : [255, 255, 255]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => {
      const c = value / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const opacity = (element) => {
    let value = 1;
    for (let e = element; e; e = e.parentElement) value *= Number(getComputedStyle(e).opacity);
    return value;
  };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (seen.has(element) || !walker.currentNode.textContent.trim() || element.closest("script, style, template, .visually-hidden, :disabled")) continue;
    seen.add(element);
    const style = getComputedStyle(element);
    if (style.visibility === "hidden" || !element.getClientRects().length) continue;
    const below = background(element);
    const [r, g, b, a] = rgba(element.closest("svg") ? style.fill : style.color);
    const ink = over([r, g, b, a * opacity(element)], below);
    const [light, dark] = [luminance(ink), luminance(below)].sort((x, y) => y - x);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: ${name(element)}`);
  }
  return faults;
})()
