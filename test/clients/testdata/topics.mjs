// Makes the types of an AsyncAPI document: node topics.mjs DOCUMENT FOLDER
import { readFileSync } from "node:fs";
import { TS_COMMON_PRESET, TypeScriptFileGenerator } from "@asyncapi/modelina";

const [document, folder] = process.argv.slice(2);
const generator = new TypeScriptFileGenerator({
  modelType: "class", enumType: "union", mapType: "record",
  presets: [{ preset: TS_COMMON_PRESET, options: { marshalling: true } }],
});
const models = await generator.generateToFiles(readFileSync(document, "utf8"), folder, {
  exportType: "named",
});
const anonymous = models.map((m) => m.modelName).filter((name) => /anonymous/i.test(name));
if (models.length === 0 || anonymous.length > 0) {
  throw new Error(`${models.length} types, without names: ${anonymous}`);
}
