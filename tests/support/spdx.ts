/**
 * The rules of SPDX 2.3 for what our document uses, as a JSON schema: of each object the members that the
 * standard knows, those that it demands, and the forms of their values (clauses 6, 7 and 11 and annex F).
 */

const SPDX_ID = "^SPDXRef-[A-Za-z0-9.-]+$";
// Annex D, without references to other documents, which ours has none of.
const LICENSE =
  "^(NONE|NOASSERTION|\\(?[A-Za-z0-9.-]+\\+?( (AND|OR|WITH) \\(?[A-Za-z0-9.-]+\\+?\\)?)*\\)?)$";
const AGENT = "^(Tool: \\S+|(Person|Organization): .+)$";
const LOCATION = "^(NONE|NOASSERTION|(https?|ftp|git|git\\+https)://\\S+)$";

/** Lengths in hexadecimal digits of the digests that a checksum may have. */
const DIGESTS = { SHA1: 40, SHA256: 64, SHA384: 96, SHA512: 128 };

const checksum = {
  type: "object",
  required: ["algorithm", "checksumValue"],
  additionalProperties: false,
  properties: {
    algorithm: { enum: Object.keys(DIGESTS) },
    checksumValue: { type: "string", pattern: "^[0-9a-f]+$" },
  },
  allOf: Object.entries(DIGESTS).map(([algorithm, length]) => ({
    if: { properties: { algorithm: { const: algorithm } } },
    then: { properties: { checksumValue: { minLength: length, maxLength: length } } },
  })),
};

const externalRef = {
  type: "object",
  required: ["referenceCategory", "referenceLocator", "referenceType"],
  additionalProperties: false,
  properties: {
    referenceCategory: { enum: ["OTHER", "PERSISTENT-ID", "SECURITY", "PACKAGE-MANAGER"] },
    referenceType: { type: "string", pattern: "^[a-z0-9.-]+$" },
    referenceLocator: { type: "string", pattern: "^\\S+$" },
    comment: { type: "string" },
  },
  if: { properties: { referenceType: { const: "purl" } } },
  then: {
    properties: {
      referenceCategory: { const: "PACKAGE-MANAGER" },
      referenceLocator: { pattern: "^pkg:[a-z]+/([\\w.%-]+/)?[\\w.%-]+@[\\w.+-]+$" },
    },
  },
};

const spdxPackage = {
  type: "object",
  required: ["SPDXID", "downloadLocation", "name"],
  additionalProperties: false,
  properties: {
    SPDXID: { type: "string", pattern: SPDX_ID },
    name: { type: "string", minLength: 1 },
    versionInfo: { type: "string", minLength: 1 },
    downloadLocation: { type: "string", pattern: LOCATION },
    // Without files of its own, so without a verification code.
    filesAnalyzed: { const: false },
    licenseConcluded: { type: "string", pattern: LICENSE },
    licenseDeclared: { type: "string", pattern: LICENSE },
    copyrightText: { type: "string", minLength: 1 },
    sourceInfo: { type: "string", minLength: 1 },
    primaryPackagePurpose: { enum: ["APPLICATION", "FRAMEWORK", "LIBRARY", "CONTAINER", "OTHER"] },
    checksums: { type: "array", items: checksum, uniqueItems: true },
    externalRefs: { type: "array", items: externalRef, uniqueItems: true },
  },
};

/** The schema of a document. */
export const SPDX_2_3 = {
  type: "object",
  required: [
    ...["SPDXID", "creationInfo", "dataLicense", "documentNamespace", "name", "packages"],
    ...["relationships", "spdxVersion"],
  ],
  additionalProperties: false,
  properties: {
    spdxVersion: { const: "SPDX-2.3" },
    dataLicense: { const: "CC0-1.0" },
    SPDXID: { const: "SPDXRef-DOCUMENT" },
    name: { type: "string", minLength: 1 },
    // An absolute URI without a fragment.
    documentNamespace: { type: "string", pattern: "^[a-z][a-z0-9+.-]*://[^#\\s]+$" },
    creationInfo: {
      type: "object",
      required: ["created", "creators"],
      additionalProperties: false,
      properties: {
        created: {
          type: "string",
          format: "date-time",
          pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$",
        },
        creators: { type: "array", minItems: 1, items: { type: "string", pattern: AGENT } },
        licenseListVersion: { type: "string", pattern: "^\\d+\\.\\d+$" },
      },
    },
    packages: { type: "array", minItems: 1, items: spdxPackage },
    relationships: {
      type: "array",
      minItems: 1,
      uniqueItems: true,
      items: {
        type: "object",
        required: ["spdxElementId", "relationshipType", "relatedSpdxElement"],
        additionalProperties: false,
        properties: {
          spdxElementId: { type: "string", pattern: SPDX_ID },
          relationshipType: {
            enum: ["DESCRIBES", "CONTAINS", "DEPENDS_ON", "STATIC_LINK", "GENERATED_FROM"],
          },
          relatedSpdxElement: { type: "string", pattern: SPDX_ID },
        },
      },
    },
  },
};
