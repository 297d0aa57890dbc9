// Runs in a page and returns what is wrong with it, in sentences. `parts` says what to look at.
(parts) => {
  const wrong = [];
  const describe = (element) => {
    const text = (element.getAttribute("aria-label") || element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 40);
    const id = element.id ? `#${element.id}` : "";
    const names = typeof element.className === "string" && element.className ? `.${element.className.trim().replace(/\s+/g, ".")}` : "";
    return `<${element.tagName.toLowerCase()}${id}${names}> “${text}”`;
  };
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });

  function structure() {
    if (!document.documentElement.lang) wrong.push("no language");
    if (document.title.trim().length < 4 || /^[\s·]|·\s*·/.test(document.title)) wrong.push(`title “${document.title}”`);
    const count = (selector, least, most = 1) => {
      const found = [...document.querySelectorAll(selector)].filter(shown).length;
      if (found < least || found > most) wrong.push(`${found} × ${selector}`);
    };
    count("h1", 1);
    count("main", 1);
    count("nav, [role=navigation]", parts.public ? 0 : 1, 9);
    const navigations = [...document.querySelectorAll("nav")].filter(shown).map((nav) => nav.ariaLabel || nav.getAttribute("aria-labelledby"));
    if (navigations.length > 1 && new Set(navigations).size < navigations.length) wrong.push(`navigations named ${navigations}`);
    let level = 0;
    for (const heading of [...document.querySelectorAll("h1, h2, h3, h4")].filter(shown)) {
      const next = Number(heading.tagName[1]);
      if (level && next > level + 1) wrong.push(`h${level} is followed by ${describe(heading)}`);
      level = next;
    }
  }

  function names() {
    const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
    for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index))) wrong.push(`id “${id}” twice`);
    for (const attribute of ["aria-labelledby", "aria-describedby", "aria-controls", "for"]) {
      for (const element of document.querySelectorAll(`[${attribute}]`)) {
        for (const id of element.getAttribute(attribute).split(/\s+/)) {
          if (!document.getElementById(id) && shown(element)) wrong.push(`${describe(element)}: ${attribute} names “${id}”, which is not there`);
        }
      }
    }
    for (const input of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
      const labelled = [...(input.labels || [])].some((label) => label.textContent.trim()) || input.ariaLabel || input.getAttribute("aria-labelledby");
      if (!labelled) wrong.push(`${describe(input)} (${input.name}) has no label`);
    }
    for (const element of document.querySelectorAll("a[href], button, summary, [role=button], [role=tab]")) {
      const named = element.innerText.trim() || element.textContent.trim() || element.ariaLabel || element.title || element.querySelector("img[alt]:not([alt=''])");
      if (!named) wrong.push(`${describe(element)} has no name: ${element.outerHTML.slice(0, 120)}`);
    }
    for (const image of document.querySelectorAll("img:not([alt])")) wrong.push(`${describe(image)} has no alt`);
    for (const icon of document.querySelectorAll("svg")) {
      const hidden = icon.closest("[aria-hidden=true]") || (icon.getAttribute("role") === "img" && icon.ariaLabel);
      if (!hidden) wrong.push(`an icon in ${describe(icon.parentElement)} is neither hidden nor named`);
    }
    for (const table of document.querySelectorAll("table")) {
      if (!table.querySelector("th[scope]")) wrong.push(`${describe(table)} has no headers`);
    }
  }

  const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const cache = new Map();
  function colour(css) {
    if (!cache.has(css)) {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = css;
      pen.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
      cache.set(css, [red, green, blue, alpha / 255]);
    }
    return cache.get(css);
  }
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const grounds = new Map([[null, { below: colour("canvas"), opacity: 1 }]]);
  function ground(element) {
    if (!grounds.has(element)) {
      const { below, opacity } = ground(element.parentElement);
      const style = getComputedStyle(element);
      grounds.set(element, { below: over(colour(style.backgroundColor), below), opacity: opacity * Number(style.opacity) });
    }
    return grounds.get(element);
  }

  function contrast() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const seen = new Set();
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (!walker.currentNode.data.trim() || seen.has(element)) continue;
      seen.add(element);
      if (!shown(element) || element.closest("svg, .visually-hidden, .skip-link")) continue;
      const [r, g, b, alpha] = colour(getComputedStyle(element).color);
      const { below, opacity } = ground(element);
      const text = over([r, g, b, alpha * opacity], below);
      const [high, low] = [light(text), light(below)].sort((one, two) => two - one);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)}: ${describe(element)}`);
    }
  }

  function layout() {
    for (const dialog of document.querySelectorAll("dialog[open]")) {
      const { left, right } = dialog.getBoundingClientRect();
      if (left < 0 || right > innerWidth) wrong.push(`${describe(dialog)} reaches from ${left} to ${right} of ${innerWidth}`);
    }
    const width = document.documentElement.clientWidth;
    const scrolled = document.scrollingElement.scrollWidth;
    if (scrolled <= innerWidth) return;
    const wide = [...document.querySelectorAll("body *")].filter((element) => shown(element) && element.getBoundingClientRect().right > width + 1);
    wrong.push(`${scrolled} px wide at ${innerWidth}: ${wide.slice(0, 3).map(describe).join(", ")}`);
  }

  for (const look of [structure, names, contrast, layout]) if (parts[look.name]) look();
  return wrong;
}
