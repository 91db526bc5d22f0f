// What all pages do: the switch between light and dark. Everything else works without scripts.
"use strict";
const Hash = {
  // The part of an address after "#" as named values; an anchor such as "#data" has none.
  read() {
    const text = location.hash.slice(1);
    return text.includes("=") ? new URLSearchParams(text) : new URLSearchParams();
  },
  write(values) {
    const text = values.toString();
    const place = text ? "#" + text : location.pathname + location.search;
    if (text || location.hash.includes("=")) history.replaceState(null, "", place);
  },
};

(() => {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : system.matches;
  };
  const show = () => {
    const given = Hash.read().get("theme");
    if (given === "dark" || given === "light") document.documentElement.dataset.theme = given;
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Show in light colours" : "Show in dark colours");
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const values = Hash.read();
    values.set("theme", isDark() ? "light" : "dark");
    Hash.write(values);
    show();
  });
  system.addEventListener("change", show);
  addEventListener("hashchange", show);
  show();
})();
