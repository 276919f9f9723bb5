// What both TypeScript programs do with their client: the steps of tests/clients, one line of JSON each.
export const way = JSON.parse(process.argv[2]);
export const headers = { Authorization: `Bearer ${way.key ?? ""}` };
export const who = { name: "typescript", version: "1.0.0" };
export const capabilities = { elicitation: { form: {} }, sampling: {} };
export const elicited = { action: "accept", content: { day: "Monday" } };
export const sampled = { role: "assistant", model: "m", content: { type: "text", text: "short" } };
export const stdio = { command: way.command, args: way.args, env: { ...process.env, ...way.env } };

const tell = (step, said) => console.log(JSON.stringify({ step, said }));

export async function play(client) {
  const call = async (name, args) => (await client.callTool({ name, arguments: args })).content[0].text;
  tell("tools", (await client.listTools()).tools.map((one) => one.name));
  tell("resources", (await client.listResources()).resources.map((one) => one.uri));
  tell("prompts", (await client.listPrompts()).prompts.map((one) => one.name));
  tell("called", await call("story__echo", { text: "hello" }));
  tell("refused", await call("story__add", { a: 1, b: 2 }));
  tell("failed", await call("story__fail", {}));
  tell("read", (await client.readResource({ uri: "mcpgw+story+story://one" })).contents[0].text);
  tell("got", (await client.getPrompt({ name: "story__tell", arguments: { who: "Ann" } })).messages[0].content.text);
  tell("elicited", await call("asking__book", { what: "room" }));
  tell("sampled", await call("asking__sum_up", { text: "long" }));
  let said = await call("story__count", { marker: way.marker });
  if (said.includes("not executed")) tell("pending", said);
  while (said.includes("not executed")) {
    await new Promise((done) => setTimeout(done, 100));
    said = await call("story__count", { marker: way.marker });
  }
  tell("approved", said);
  await client.close();
}
