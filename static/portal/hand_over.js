// The page that hands a person over to their notebook: what its button would do, at once.
document.addEventListener("DOMContentLoaded", () => document.getElementById("hand-over").requestSubmit());
