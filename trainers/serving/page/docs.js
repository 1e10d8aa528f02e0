// The OpenAPI document as a page, without anything from elsewhere.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function rows(values) {
  const table = element("table");
  for (const [name, ...rest] of values) table.append(element("tr", "", element("td", name), ...rest.map(text => element("td", text))));
  return table;
}

function typeOf(schema, known) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.filter(one => one.type !== "null").map(one => typeOf(one, known)).join(" or ");
  return schema.type === "array" ? `list of ${typeOf(schema.items, known)}` : schema.type ?? "";
}

function endpoint(path, method, what) {
  const box = element("section", "", element("h2", `${method.toUpperCase()} ${path}`), element("p", what.description ?? what.summary));
  box.className = "endpoint";
  if (what.parameters?.length) {
    box.append(element("h3", "Parameters"), rows(what.parameters.map(one => [one.name, typeOf(one.schema), one.description ?? ""])));
  }
  if (what.requestBody) box.append(element("h3", "Body"), rows(Object.keys(what.requestBody.content).map(type => [type, "the file itself"])));
  const answers = Object.entries(what.responses).map(([status, answer]) => {
    const schema = answer.content?.["application/json"]?.schema;
    return [status, answer.description, schema ? typeOf(schema) : Object.keys(answer.content ?? {}).join(", ")];
  });
  box.append(element("h3", "Answers"), rows(answers));
  return box;
}

function shape(name, schema) {
  const fields = Object.entries(schema.properties ?? {}).map(([field, one]) => [field, typeOf(one), one.description ?? ""]);
  const box = element("section", "", element("h2", name), element("p", schema.description), rows(fields));
  box.className = "endpoint";
  return box;
}

const api = await (await fetch("openapi.json")).json();
const box = document.querySelector("#endpoints");
document.querySelector("#example").textContent = `curl --data-binary @song.mp3 '${new URL("predict?timeline=true", location)}'`;
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, what] of Object.entries(methods)) box.append(endpoint(path, method, what));
}
for (const [name, schema] of Object.entries(api.components.schemas)) box.append(shape(name, schema));
box.setAttribute("aria-busy", "false");
