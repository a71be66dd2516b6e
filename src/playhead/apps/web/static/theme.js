// Light, dark, or as the system has it. In the head, so that no page flashes in the wrong colours.
"use strict";
(() => {
  const names = { auto: "automatic", light: "light", dark: "dark" };
  const read = () => {
    try {
      return localStorage.getItem("theme") in names ? localStorage.getItem("theme") : "auto";
    } catch {
      return "auto"; // storage is switched off
    }
  };
  let theme = read();
  const show = () => (document.documentElement.dataset.theme = theme);
  show();
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => (document.getElementById("theme-name").textContent = names[theme]);
    label();
    button.hidden = false;
    button.addEventListener("click", () => {
      const order = Object.keys(names);
      theme = order[(order.indexOf(theme) + 1) % order.length];
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // it holds for this page
      }
      show();
      label();
    });
  });
})();
