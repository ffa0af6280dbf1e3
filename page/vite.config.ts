import { defineConfig } from "vite";

export default defineConfig({
  base: "/",
  publicDir: false,
  build: {
    outDir: "../monitor/daemon/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: { output: { assetFileNames: "assets/[name]-[hash][extname]" } },
  },
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
});
