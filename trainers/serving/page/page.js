// The page: songs in, answers out.

import {OTHERS, clock, colour, drawAxis, drawSpectrogram, drawTimeline, until} from "./draw.js";
import {Refusal, explain} from "./reasons.js";
import {record, toWav} from "./sound.js";
import {drawLines, finest, placed, shownOf} from "./tree.js";

const NEAREST = 5, KEPT = 12, GENRES = 6, HEADLINE = 3, TAGS = 5;
const $ = selector => document.querySelector(selector);
const percent = share => share > 0.995 && share < 1 ? ">99%" : share < 0.005 && share > 0 ? "<1%" : `${Math.round(100 * share)}%`;
let model = null;

const SILENT = "the server does not answer";
const pause = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds));

async function ask(body, again = true) {
  const query = `timeline=true&spectrogram=true&nearest=${NEAREST}`;
  const answer = await fetch(`predict?${query}`, {method: "POST", body, headers: {"Content-Type": "application/octet-stream"}});
  if (answer.status === 503 && again) {
    await pause(Math.min(10, Number(answer.headers.get("Retry-After")) || 1));
    return ask(body, false);
  }
  // A proxy that stands in for a server that is gone answers with a page of its own.
  const found = await answer.json().catch(() => { throw new TypeError(SILENT); });
  if (!answer.ok) throw new Refusal(found);
  return found;
}

async function predict(song) {
  if (song.size > model.most_bytes) throw new Refusal({error: "too_large", message: `the file has ${Math.ceil(song.size / 2 ** 20)} MiB`});
  return ask(song);
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const width = share => `${100 * Math.max(0, Math.min(1, share))}%`;

function bar(share, fill, threshold) {
  const outer = element("span", undefined, "bar"), inner = element("i");
  inner.style.width = width(share);
  if (fill) inner.style.background = fill;
  outer.append(inner);
  if (threshold !== undefined) {
    const mark = element("b");
    mark.style.left = width(threshold);
    outer.append(mark);
  }
  return outer;
}

function chip(text, fill) {
  const mark = element("i", undefined, fill ? "chip" : "chip rest"), line = element("span");
  if (fill) mark.style.background = fill;
  line.append(mark, text);
  return line;
}

const named = label => chip(model.labels[label], colour(label));

// Of many genres, all that are below one at the top have its colour.
const tops = () => model.labels.filter(label => model.parents && !model.parents[label]);
const toneOf = genre => colour((model.parents ? tops() : model.labels).indexOf(genre));

// The likeliest genres; one more takes the place of a word that says that there is one more.
const likeliest = genres => genres.length > GENRES + 1 ? genres.slice(0, GENRES) : genres;

const SILENCE = "the file is digital silence", UNLIKE = "unlike the music this model was trained on";

// With one label: the verdict, why, the genre whose colour it has, the genres that are shown, and the others.
function oneLabel(found) {
  const unsure = found.verdict === "unsure", likely = `${percent(found.genres[0].probability)} likely`;
  const shown = likeliest(found.genres), others = found.genres.slice(shown.length);
  return {
    verdict: unsure ? "Unsure" : found.verdict,
    why: found.silent ? SILENCE : found.unlike_training ? UNLIKE : unsure ? `nothing reaches ${percent(model.threshold)}` : likely,
    tone: unsure ? undefined : found.verdict,
    lines: shown.map(({genre, probability}) => genreLine(genre, probability, genre)),
    others: others.map(({genre, probability}) => genreLine(genre, probability, genre)),
    summary: `${others.length} less likely ones`,
  };
}

// The same with many genres; the others are the whole tree.
function manyGenres(found) {
  const tree = placed(found.genres), shown = shownOf(tree), names = finest(tree), count = tree.filter(one => one.predicted).length;
  const reached = `${count} ${count === 1 ? "genre reaches its" : "genres reach their"} threshold`;
  const more = names.length > HEADLINE ? ` and ${names.length - HEADLINE} more` : "";
  const line = one => {
    const made = genreLine(one.genre, one.probability, one.top, one.threshold);
    made.style.setProperty("--depth", one.depth);
    made.classList.toggle("predicted", one.predicted);
    return made;
  };
  return {
    verdict: names.length ? names.slice(0, HEADLINE).join(", ") + more : "Unsure",
    why: found.silent ? SILENCE : found.unlike_training ? UNLIKE : count ? reached : "no genre reaches its threshold",
    tone: names.length ? tree.find(one => one.predicted).top : undefined,
    lines: shown.map(line),
    others: shown.length < tree.length ? tree.map(line) : [],
    summary: `all ${tree.length} genres`,
  };
}

function genreLine(genre, probability, tone, threshold) {
  const line = element("li");
  line.append(element("span", genre), bar(probability, toneOf(tone), threshold), element("output", percent(probability)));
  return line;
}

function showVerdict(article, found) {
  const {verdict, why, tone, lines, others, summary} = model.parents ? manyGenres(found) : oneLabel(found);
  const headline = article.querySelector(".verdict"), more = article.querySelector(".more");
  headline.append(verdict, element("small", `${why} · ${clock(found.seconds)} long`));
  headline.classList.toggle("several", verdict.includes(", "));
  if (tone) headline.style.setProperty("--tone", toneOf(tone));
  article.querySelector(".genres").append(...lines);
  more.hidden = !others.length;
  more.querySelector("summary").textContent = summary;
  more.querySelector("ol").append(...others);
}

function showTags(article, tags) {
  if (!tags) return;
  const line = article.querySelector(".tags");
  line.hidden = false;
  line.append(`${model.tagger} hears `, ...tags.slice(0, TAGS).map(({tag, probability}) => {
    const one = element("span", tag, "tag");
    one.append(element("small", percent(probability)));
    return one;
  }));
}

function showTime(article, found) {
  const time = article.querySelector(".time"), order = found.genres.map(({genre}) => model.labels.indexOf(genre));
  time.hidden = false;
  drawSpectrogram(time.querySelector("canvas"), found.spectrogram, found.seconds);
  drawAxis(time.querySelector(".axis"), found.seconds);
  const svg = time.querySelector("svg");
  if (found.timeline.length) {
    const legend = time.querySelector(".legend");
    if (model.parents) {
      showLines(time, svg, found);
    } else {
      const shown = likeliest(order);
      drawTimeline(svg, found.timeline, shown, found.seconds);
      legend.append(...shown.map(named));
      if (shown.length < order.length) legend.append(chip("others", OTHERS));
    }
    svg.setAttribute("aria-label", `Genres over ${clock(found.seconds)}, mostly ${found.genres[0].genre}`);
    const rest = found.seconds - found.timeline.at(-1).end;
    if (rest > 0.1) legend.append(chip(`the rest does not fill ${model.window_seconds.toFixed(1)} s`));
  } else {
    time.querySelector(".timeline").hidden = true;
  }
  followCursor(article, found);
}

function showLines(time, svg, found) {
  const lines = shownOf(placed(found.genres)).map(one => ({...one, label: model.labels.indexOf(one.genre)}));
  drawLines(svg, found.timeline, until, lines, found.seconds, one => toneOf(one.top));
  time.querySelector(".timeline figcaption .soft").textContent = "how likely each one is, and its threshold";
  const strip = svg.parentElement, names = element("ol", undefined, "names");
  names.append(...lines.map(one => {
    const name = element("li", one.genre, one.predicted ? "predicted" : "");
    name.style.setProperty("--depth", one.depth);
    return name;
  }));
  strip.append(names);
}

// One cursor for both pictures: it follows the music, shows what is under the pointer, and a click goes there.
function followCursor(article, found) {
  const audio = article.querySelector("audio"), cursors = article.querySelectorAll(".cursor");
  const reading = article.querySelector(".reading");
  const put = seconds => cursors.forEach(cursor => { cursor.style.left = `${100 * seconds / found.seconds}%`; });
  const tell = seconds => {
    const at = found.timeline.findIndex((window, i) => window.start <= seconds && seconds < until(found.timeline, i));
    const window = found.timeline[at];
    const likely = window ? window.probabilities.map((p, label) => [p, label]).sort((a, b) => b[0] - a[0]).slice(0, 3) : [];
    reading.textContent = [clock(seconds), ...likely.map(([p, label]) => `${model.labels[label]} ${percent(p)}`)].join("  ·  ");
  };
  audio.addEventListener("timeupdate", () => { put(audio.currentTime); tell(audio.currentTime); });
  for (const strip of article.querySelectorAll(".strip")) {
    const seconds = event => {
      const box = strip.getBoundingClientRect();
      return found.seconds * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    };
    strip.addEventListener("pointermove", event => { if (audio.paused) put(seconds(event)); tell(seconds(event)); });
    strip.addEventListener("click", event => { audio.currentTime = seconds(event); put(seconds(event)); });
  }
}

const clipOf = track => `clip?track=${encodeURIComponent(track.track_id)}`;

function showNearest(article, {nearest, in_training}) {
  article.querySelector(".known").hidden = !in_training;
  if (!nearest?.length) return;
  article.querySelector(".nearest").hidden = false;
  for (const track of nearest) {
    const line = element("li"), title = element("span", track.title || `track ${track.track_id}`, "title");
    if (track.artist) title.append(element("span", track.artist, "soft"));
    const label = model.labels.indexOf(track.genre), alike = element("span", undefined, "alike");
    alike.append(bar(track.similarity), element("span", track.similarity.toFixed(2)));
    const genres = element("span", (track.genres ?? []).join(", ") || track.genre);
    line.append(title, track.genres || label < 0 ? genres : named(label), alike);
    if (model.clips) {
      const player = element("audio");
      Object.assign(player, {controls: true, preload: "none", src: clipOf(track)});
      player.setAttribute("aria-label", `10 s of ${track.title || track.track_id}`);
      player.addEventListener("error", () => player.replaceWith(element("span", "its sound is not there", "soft")));
      line.append(player);
    }
    article.querySelector(".nearest ol").append(line);
  }
}

async function add(name, song) {
  const article = $("#answer-template").content.cloneNode(true).firstElementChild;
  article.querySelector(".name").textContent = name;
  $("#answers").prepend(article);
  for (const old of [...$("#answers").children].slice(KEPT)) {
    URL.revokeObjectURL(old.querySelector("audio").src);
    old.remove();
  }
  try {
    if (!model) await introduce();
    const found = await predict(song);
    article.querySelector(".state").hidden = true;
    article.querySelector(".found").hidden = false;
    showVerdict(article, found);
    showTags(article, found.tags);
    showTime(article, found);
    showNearest(article, found);
    article.querySelector("audio").src = URL.createObjectURL(song);
  } catch (error) {
    article.classList.add("failed");
    article.querySelector(".state").hidden = false;
    article.querySelector(".found").hidden = true;
    const {words, detail} = explain(error instanceof TypeError ? new Error(SILENT) : error, model);
    article.querySelector(".state-text").textContent = words;
    if (detail) {
      const more = element("details", undefined, "detail soft");
      more.append(element("summary", "What the server says"), detail);
      article.querySelector(".state").after(more);
    }
  }
  article.setAttribute("aria-busy", "false");
}

// One after the other: the server takes only so many at once. The first waits until the page knows the model.
let last = null;
function addAll(files) {
  for (const file of files) last = last.then(() => add(file.name, file));
}

function listenToFiles() {
  const drop = $("#drop"), input = $("#file");
  input.addEventListener("change", () => { addAll([...input.files]); input.value = ""; });
  let depth = 0;
  const over = change => { depth += change; drop.classList.toggle("over", depth > 0); };
  addEventListener("dragenter", event => { event.preventDefault(); over(1); });
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", event => event.preventDefault());
  addEventListener("drop", event => { event.preventDefault(); over(-depth); addAll([...event.dataTransfer.files]); });
}

function offerExample() {
  const song = model.example;
  if (!song) return;
  const name = [song.title || `track ${song.track_id}`, song.artist].filter(Boolean).join(", ");
  const licence = song.license ? ` (${song.license})` : "";
  $("#example").hidden = false;
  $("#example-name").textContent = `10 s that the model was not trained on: ${name}${licence}`;
  $("#try").addEventListener("click", async () => {
    const answer = await fetch(clipOf(song)).catch(() => null);
    if (answer?.ok) addAll([new File([await answer.blob()], name, {type: "audio/mpeg"})]);
    else $("#example-name").textContent = "The example cannot be played now.";
  });
}

function listenToMicrophone() {
  const button = $("#record"), text = $("#record-text"), note = $("#record-note"), level = $("#level");
  const least = Math.ceil(model.window_seconds + 0.5);
  note.textContent = `at least ${least} s, from your microphone`;
  let running = null;
  const rest = message => {
    running = null;
    text.textContent = "Record";
    note.textContent = message;
    button.disabled = false;
    level.hidden = true;
    document.body.classList.remove("recording");
  };
  button.addEventListener("click", async () => {
    if (running) return running.stop();
    button.disabled = true;
    try {
      running = await record((seconds, loudness) => {
        level.value = loudness;
        button.disabled = seconds < least;
        text.textContent = `Stop  ${clock(seconds)}`;
        note.textContent = seconds < least ? `${Math.ceil(least - seconds)} s more` : "stop when you like";
      });
      level.hidden = false;
      document.body.classList.add("recording");
      const song = await toWav(await running.finished, model.sample_rate);
      rest("");
      addAll([new File([song], `Recording of ${new Date().toLocaleTimeString()}`, {type: song.type})]);
    } catch (error) {
      rest(error.name === "NotAllowedError" ? "the microphone may not be used" : `no recording: ${error.message}`);
    }
  });
  if (!navigator.mediaDevices) {
    button.disabled = true;
    note.textContent = "browsers record on https:// and on this machine's own address only";
  }
}

function start() {
  listenToFiles();
  last = introduce().catch(() => { $("#model").textContent = `${SILENT[0].toUpperCase()}${SILENT.slice(1)}.`; });
}

async function introduce() {
  const answer = await fetch("model");
  if (!answer.ok) throw new TypeError(SILENT);
  model = await answer.json().catch(() => { throw new TypeError(SILENT); });
  const how = model.by_window ? `, ${model.window_seconds.toFixed(1)} s at a time` : "";
  const name = model.run === model.model ? model.run : `${model.run} (${model.model})`;
  $("#model").textContent = model.parents
    ? `${name} finds any of ${model.labels.length} genres in a song${how}: those of ${tops().join(", ")}.`
    : `${name} tells ${model.labels.length} genres apart${how}: ${model.labels.join(", ")}.`;
  $("#limits").textContent = `Songs of up to ${Math.round(model.most_bytes / 2 ** 20)} MiB stay on this server until they are predicted.`;
  listenToMicrophone();
  offerExample();
}

start();
