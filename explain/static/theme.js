// Light or dark: as the system says, or as chosen in this browser.

const root = document.documentElement;

/** Apply the chosen theme. */
export function restoreTheme() {
  root.dataset.theme = localStorage.getItem("theme") ?? "";
}

/** Choose the other theme than the one that is shown. */
export function switchTheme() {
  const isDark = getComputedStyle(root).getPropertyValue("--is-dark").trim() === "1";
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}
