// A call as a command for a shell. The ledger has what was said, not the bytes: the command says the same again in the
// form of its API, with the key left to a variable.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function curl(one, said) {
  const lines = [`curl ${quoted(`${location.origin}/${one.provider}${one.path}`)}`, `-X ${one.method}`, '-H "Authorization: Bearer $API_KEY"'];
  if (one.path.endsWith("GenerateContent")) lines[0] = lines[0].replace(/'$/, "?alt=sse'");
  if (one.path.includes("/v1/messages")) lines.push("-H 'anthropic-version: 2023-06-01'");
  const body = said.captured ? bodyOf(one, said) : null;
  if (body) lines.push("-H 'Content-Type: application/json'", `--data-raw ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

function bodyOf(one, said) {
  const heard = (list) => list.filter((line) => line.text !== null && ["system", "developer", "user", "assistant", "model"].includes(line.role) && line.text !== "");
  const system = heard(said.system), lines = heard(said.messages);
  const words = system.map((line) => line.text).join("\n\n");
  const stream = one.stream ? { stream: true } : {};
  const turns = (role) => lines.map((line) => ({ role: line.role === "assistant" ? role : line.role, content: line.text }));
  switch (one.call_type) {
    case "messages":
      return { model: one.model, max_tokens: 1024, ...(words ? { system: words } : {}), messages: turns("assistant"), ...stream };
    case "generate_content":
      return { ...(words ? { systemInstruction: { parts: [{ text: words }] } } : {}), contents: turns("model").map(({ role, content }) => ({ role, parts: [{ text: content }] })) };
    case "responses":
      return { model: one.model, ...(words ? { instructions: words } : {}), input: turns("assistant"), ...stream };
    case "completion":
      return { model: one.model, prompt: lines.map((line) => line.text).join("\n"), ...stream };
    default:
      return { model: one.model, messages: [...system.map((line) => ({ role: line.role, content: line.text })), ...turns("assistant")], ...stream };
  }
}
