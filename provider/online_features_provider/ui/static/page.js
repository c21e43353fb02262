// Follow the theme of Airflow's UI, which it keeps in this origin's storage; without one, CSS follows the system's.
function followTheme() {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
try {
  followTheme();
  window.addEventListener("storage", followTheme);
} catch {
  // Storage is refused to this frame: the system's theme then.
}

// Airflow shows the page in a frame that may not navigate the window, so its own document follows links to its pages.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[target=_top]");
  if (!link || window.parent === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const twin = window.parent.document.createElement("a");
  twin.href = link.href;
  window.parent.document.body.append(twin);
  twin.click();
  twin.remove();
});
