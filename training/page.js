"use strict";
// Draws the figures that stand as JSON in the page, in the colours of the theme, again when the theme changes.
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue("--" + name).trim();
  return { accent: read("accent"), bad: read("bad"), good: read("good"), soft: read("soft"), faint: read("line"),
    text: read("text"), card: read("card"), line: read("line") };
}

function painted(value, theme) {
  if (Array.isArray(value)) return value.map((one) => painted(one, theme));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) =>
    [key, key === "color" && one in theme ? theme[one] : painted(one, theme)]));
}

function layout(given, theme) {
  const axis = { gridcolor: theme.line, zerolinecolor: theme.line, linecolor: theme.line, automargin: true, tickmode: "auto" };
  const made = painted(given, theme);
  for (const name of Object.keys(made)) if (/^[xy]axis/.test(name)) made[name] = { ...axis, ...made[name] };
  return { ...made, paper_bgcolor: theme.card, plot_bgcolor: theme.card, margin: { l: 56, r: 24, t: 24, b: 44 },
    font: { family: "system-ui, sans-serif", size: 12, color: theme.text },
    hoverlabel: { bgcolor: theme.card, bordercolor: theme.line, font: { color: theme.text } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" } };
}

function draw() {
  const theme = colours();
  const options = { responsive: true, displayModeBar: false };
  for (const [id, figure] of Object.entries(figures)) {
    Plotly.react(document.getElementById(id), painted(figure.data, theme), layout(figure.layout, theme), options);
  }
}

draw();
dark.addEventListener("change", draw);
