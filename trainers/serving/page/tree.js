// Answers with many genres, along their tree. `genres` are those of an answer: a parent before its children.

const NEXT = 3;

// Each genre with its depth, and the genre at the top of its tree.
export function placed(genres) {
  const found = new Map();
  for (const one of genres) {
    const above = found.get(one.parent);
    found.set(one.genre, {...one, depth: above ? above.depth + 1 : 0, top: above ? above.top : one.genre});
  }
  return [...found.values()];
}

// What is predicted, the most likely of the others, and what is above them.
export function shownOf(tree) {
  const others = tree.filter(one => !one.predicted).sort((a, b) => b.probability - a.probability).slice(0, NEXT);
  const kept = new Set([...tree.filter(one => one.predicted), ...others].map(one => one.genre));
  const parents = new Map(tree.map(one => [one.genre, one.parent]));
  for (const {genre} of others) for (let at = parents.get(genre); at; at = parents.get(at)) kept.add(at);
  return tree.filter(one => kept.has(one.genre));
}

// The predicted genres that have no predicted one below them.
export function finest(tree) {
  const above = new Set(tree.filter(one => one.predicted).map(one => one.parent));
  return tree.filter(one => one.predicted && !above.has(one.genre)).map(one => one.genre);
}

// A line for each genre, whose height is how likely it is at the time; dashes are at its threshold.
export function drawLines(svg, timeline, until, lines, seconds, colourOf) {
  svg.setAttribute("viewBox", `0 0 ${seconds} ${lines.length}`);
  svg.style.height = `${2.1 * lines.length}rem`;
  const add = (d, properties) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    for (const [name, value] of Object.entries(properties)) path.setAttribute(name, value);
    svg.append(path);
  };
  const end = timeline.at(-1).end;
  add(`M0 0H${end}V${lines.length}H0Z`, {class: "ground"});
  lines.forEach((line, row) => {
    const base = row + 1, height = p => base - 0.94 * p;
    const top = timeline.map((window, i) => {
      const at = height(window.probabilities[line.label]);
      return `L${window.start} ${at}L${until(timeline, i)} ${at}`;
    }).join("");
    add(`M0 ${base}${top}L${end} ${base}Z`, {fill: colourOf(line), opacity: line.predicted ? 0.9 : 0.35});
    const threshold = height(Math.min(1, line.threshold));
    add(`M0 ${threshold}L${end} ${threshold}`, {class: "threshold"});
    if (row) add(`M0 ${row}L${seconds} ${row}`, {class: "rule"});
  });
}
