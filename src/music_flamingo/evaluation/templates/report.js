"use strict";
const cards = Array.from(document.querySelectorAll(".card"));
const filters = { question: document.getElementById("by-question"), verdict: document.getElementById("by-verdict") };
let current = null;

const visible = () => cards.filter((card) => !card.hidden);

function choose(card) {
  if (current) current.classList.remove("current");
  current = card;
  if (!card) return;
  card.classList.add("current");
  card.scrollIntoView({ block: "nearest" });
}

function move(by) {
  const shown = visible();
  if (!shown.length) return;
  const at = shown.indexOf(current);
  choose(shown[Math.min(Math.max(at + by, 0), shown.length - 1)]);
}

function toggle() {
  const audio = (current || visible()[0])?.querySelector("audio");
  if (!audio) return;
  if (audio.paused) audio.play();
  else audio.pause();
}

function applyFilters() {
  for (const card of cards) {
    const question = filters.question.value, verdict = filters.verdict.value;
    card.hidden = (question && card.dataset.question !== question) || (verdict && card.dataset.verdict !== verdict);
  }
  document.getElementById("shown").textContent = `${visible().length} of ${cards.length} shown`;
  choose(null);
}

for (const card of cards) {
  const audio = card.querySelector("audio"), wave = card.querySelector(".wave"), head = card.querySelector(".playhead");
  card.addEventListener("click", () => choose(card));
  if (!audio) continue;
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    choose(card);
  });
  audio.addEventListener("timeupdate", () => {
    head.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
  });
  wave.addEventListener("click", (event) => {
    const box = wave.getBoundingClientRect();
    audio.currentTime = ((event.clientX - box.left) / box.width) * (audio.duration || 0);
  });
}

document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("select, summary, audio, a");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === " " && !busy) {
    event.preventDefault();
    toggle();
  }
});

if (filters.question) {
  filters.question.addEventListener("change", applyFilters);
  filters.verdict.addEventListener("change", applyFilters);
  applyFilters();
}
