// Replaces what is said of the running training every few seconds; without it the page is as good as its last load.
"use strict";
(() => {
  const place = document.getElementById("running");
  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch("page/running", { headers: { Accept: "text/html" } });
        if (answer.ok) {
          const open = place.querySelector("details")?.open;
          // the server's own template, escaped there
          place.innerHTML = await answer.text();
          const log = place.querySelector("details");
          if (open && log) log.open = true;
        }
      } catch { /* it is stopping or gone: the next look may find it */ }
    }
    setTimeout(look, 3000);
  };
  if (place) setTimeout(look, 3000);
})();
