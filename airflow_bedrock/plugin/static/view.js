// Airflow's own choice of light or dark, which its pages keep for this origin; without one, the system's.
function follow() {
  const chosen = window.localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
}
follow();
window.addEventListener("storage", follow); // Airflow's page has changed it while this one is shown

// Airflow shows a view in a frame that may open no window; Airflow's own page may.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-outside]");
  if (!link || window.top === window) return;
  event.preventDefault();
  window.top.open(link.href, "_blank", "noopener");
});
