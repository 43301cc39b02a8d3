// The colours: those that the reader chose on the site, or else those of the system. It runs before the page is drawn.

"use strict";
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");

  /** What the switch of the site saved: light, dark, or auto. */
  function chosen() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // the browser keeps nothing for this page
    }
  }

  function apply() {
    const theme = chosen();
    const isDark = theme === "dark" || (theme !== "light" && system.matches);
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
  }

  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", apply); // the reader used the switch in another tab
  window.addEventListener("pageshow", apply); // the reader used it on another page, and went back
})();
