"use strict";
// Asks for the quotes once a second and moves what has changed. The page keeps the last good data when the service
// is away, and says so.
const PERIOD = 1000;
const HISTORY = 60;
const SVG = "http://www.w3.org/2000/svg";
const element = (id) => document.getElementById(id);
const rows = new Map();
const money = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

function cell(row, tag, className) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  row.append(node);
  return node;
}

function makeRow(quote) {
  const row = document.createElement("tr");
  const name = cell(row, "th");
  name.scope = "row";
  name.append(quote.symbol);
  cell(name, "small").textContent = quote.name;
  const trend = cell(row, "td", "trend");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "trend");
  svg.setAttribute("viewBox", "0 0 60 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "polyline");
  svg.append(line);
  trend.append(svg);
  const entry = { row, line, svg, price: cell(row, "td", "price"), change: cell(row, "td"), history: [], last: null };
  row.dataset.symbol = quote.symbol;
  element("rows").append(row);
  rows.set(quote.symbol, entry);
  return entry;
}

function draw(entry) {
  const low = Math.min(...entry.history);
  const span = Math.max(...entry.history) - low || 1;
  const left = HISTORY - entry.history.length;
  const points = entry.history.map((price, index) => `${left + index},${(19 - 18 * (price - low) / span).toFixed(1)}`);
  entry.line.setAttribute("points", points.join(" "));
}

function update(quote) {
  const entry = rows.get(quote.symbol) || makeRow(quote);
  const change = (100 * (quote.price - quote.open)) / quote.open;
  entry.price.textContent = money.format(quote.price);
  entry.change.textContent = `${change < 0 ? "▼" : "▲"} ${money.format(Math.abs(change))} %`;
  entry.change.className = change < 0 ? "down-text" : "up-text";
  entry.svg.setAttribute("class", `trend ${change < 0 ? "down-text" : "up-text"}`);
  if (entry.last !== null && entry.last !== quote.price) {
    const direction = quote.price > entry.last ? "up" : "down";
    entry.price.classList.remove("up", "down");
    entry.price.classList.add(direction);
    setTimeout(() => entry.price.classList.remove(direction), 250);
  }
  entry.last = quote.price;
  entry.history.push(quote.price);
  if (entry.history.length > HISTORY) entry.history.shift();
  draw(entry);
}

function show(state, text) {
  element("status").dataset.state = state;
  element("status").textContent = text;
  element("notice").hidden = state !== "away";
  element("grid").classList.toggle("stale", state === "away");
}

async function tick() {
  try {
    const response = await fetch("/quotes.json", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    const answer = await response.json();
    element("self").textContent = answer.self;
    element("peer").textContent = answer.peer;
    answer.quotes.forEach(update);
    const at = answer.at ? new Date(answer.at * 1000).toLocaleTimeString() : "never";
    if (answer.available) show("live", `Live, ${at}`);
    else show("away", `Last quotes: ${at}`);
  } catch {
    show("away", "The broker's web application does not answer");
  }
  setTimeout(tick, PERIOD);
}

tick();
