// post asks the app for something. What it throws has a text for who asked.
export async function post(path, body = {}) {
  const response = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  }).catch(() => { throw new Error("there is no connection."); });
  if (!response.ok) throw new Error(reason(response.status));
  return response.status === 204 ? null : response.json();
}

function reason(status) {
  if (status === 409) return "an answer is being written.";
  if ([413, 422].includes(status)) return "the question is too long.";
  if (status >= 500) return "the server cannot do it right now. Try again in a moment.";
  return `the server answered with status ${status}.`;
}
