// Results while one types, and the keys: "/" to the box, arrows over the moments, Enter plays.
"use strict";
(() => {
  const form = document.getElementById("ask");
  const box = document.getElementById("q");
  const results = document.getElementById("results");
  const told = document.getElementById("told");
  const PAUSE = 120; // milliseconds without a key before a search
  let timer = 0;
  let running = null;
  let shown = query();

  function query() {
    const filled = [...new FormData(form)].filter(([, value]) => value.trim());
    return new URLSearchParams(filled).toString();
  }

  async function search() {
    const asked = query();
    if (asked === shown) return;
    running?.abort();
    const mine = (running = new AbortController());
    results.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`/results?${asked}`, { signal: mine.signal });
      if (answer.status === 429 || answer.status === 503) {
        told.textContent = "Busy; trying again.";
        later(1000);
        return;
      }
      if (!answer.ok) throw new Error((await answer.json()).detail);
      results.innerHTML = await answer.text();
      shown = asked;
      history.replaceState(null, "", asked ? `/?${asked}` : "/");
      tell();
    } catch (error) {
      if (error.name === "AbortError") return;
      told.textContent = `The search did not work: ${error.message}`;
    } finally {
      if (running === mine) results.removeAttribute("aria-busy");
    }
  }

  function tell() {
    const line = results.querySelector("[data-told]");
    told.textContent = line ? line.textContent.trim() : "";
  }

  function later(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(search, milliseconds);
  }

  const moments = () => [...results.querySelectorAll("a.main")];

  form.addEventListener("input", () => later(PAUSE));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    if (query() !== shown) search();
    else if (document.activeElement === box) moments()[0]?.click();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      box.focus();
      box.select();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (typing && event.target !== box) return;
      const all = moments();
      const step = event.key === "ArrowDown" ? 1 : -1;
      const place = all.indexOf(document.activeElement) + step;
      if (place < -1 || place >= all.length || (place < 0 && step > 0)) return;
      event.preventDefault();
      (place < 0 ? box : all[place]).focus();
    } else if (event.key === "Escape" && document.activeElement !== box) {
      box.focus();
    }
  });

  tell();
})();
