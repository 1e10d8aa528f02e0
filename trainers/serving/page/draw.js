// Pictures of a song: its spectrogram, and its genres over time.

const COLOURS = [
  "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#3f9f98", "#d9b12f", "#f2798f",
  "#9c755f", "#5d7f3b", "#86bcb6", "#d37295", "#7fb3e0", "#8cd17d", "#b6992d", "#6a5acd",
];
const STOPS = [[8, 8, 30], [68, 20, 110], [150, 45, 115], [222, 83, 88], [250, 160, 90], [252, 245, 190]];
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];

export const OTHERS = "#aab1b6";
export const colour = label => COLOURS[label % COLOURS.length];

export function clock(seconds) {
  const whole = Math.round(seconds), two = n => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function heat(share) {
  const at = Math.min(share, 0.9999) * (STOPS.length - 1), i = Math.floor(at);
  return [0, 1, 2].map(c => STOPS[i][c] + (STOPS[i + 1][c] - STOPS[i][c]) * (at - i));
}

// Draws {bands, columns, seconds, data}; the canvas is as wide as its share of the song.
export function drawSpectrogram(canvas, picture, seconds) {
  const bytes = Uint8Array.from(atob(picture.data), character => character.charCodeAt(0));
  const sorted = bytes.slice().sort();
  const low = sorted[Math.floor(sorted.length * 0.1)], high = Math.max(low + 40, sorted[Math.floor(sorted.length * 0.998)]);
  const palette = Array.from({length: 256}, (_, value) => heat(Math.max(0, Math.min(1, (value - low) / (high - low)))));
  canvas.width = picture.columns;
  canvas.height = picture.bands;
  const context = canvas.getContext("2d"), image = context.createImageData(picture.columns, picture.bands);
  for (let band = 0; band < picture.bands; band++) {
    for (let column = 0; column < picture.columns; column++) {
      const at = 4 * ((picture.bands - 1 - band) * picture.columns + column);
      const [r, g, b] = palette[bytes[band * picture.columns + column]];
      image.data.set([r, g, b, 255], at);
    }
  }
  context.putImageData(image, 0, 0);
  canvas.style.width = `${100 * Math.min(1, picture.seconds / seconds)}%`;
}

// Where window i ends in the picture: where the next one begins, or where it ends itself.
export const until = (timeline, i) => i + 1 < timeline.length ? Math.min(timeline[i].end, timeline[i + 1].start) : timeline[i].end;

// One area for each genre that is given, in that order, stacked from the bottom; one for all others, if there are any.
export function drawTimeline(svg, timeline, order, seconds) {
  svg.setAttribute("viewBox", `0 0 ${seconds} 1`);
  const below = timeline.map(() => 0);
  const draw = (heights, fill) => {
    let top = "", bottom = "";
    timeline.forEach((window, i) => {
      const to = below[i] + heights[i];
      top += `L${window.start} ${1 - to}L${until(timeline, i)} ${1 - to}`;
      bottom = `L${until(timeline, i)} ${1 - below[i]}L${window.start} ${1 - below[i]}` + bottom;
      below[i] = to;
    });
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", "M" + (top + bottom).slice(1) + "Z");
    path.setAttribute("fill", fill);
    svg.append(path);
  };
  for (const label of order) draw(timeline.map(window => window.probabilities[label]), colour(label));
  if (order.length < timeline[0].probabilities.length) draw(below.map(height => 1 - height), OTHERS);
}

export function drawAxis(axis, seconds) {
  const most = axis.clientWidth < 480 ? 5 : 9;
  const step = STEPS.find(step => seconds / step <= most) ?? 14400;
  for (let at = 0; at < seconds - step / 4; at += step) {
    const tick = document.createElement("span");
    tick.textContent = clock(at);
    tick.style.left = `${100 * at / seconds}%`;
    axis.append(tick);
  }
}
