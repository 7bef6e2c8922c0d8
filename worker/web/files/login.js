// Asks for the token; where it is right, the server sets a cookie and the page that was asked for is loaded again.

const form = document.getElementById("login");
const wrong = document.getElementById("wrong");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  wrong.hidden = true;
  const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (answer.ok) {
    location.reload();
    return;
  }
  wrong.textContent = "This is not the token.";
  wrong.hidden = false;
  form.token.select();
});
