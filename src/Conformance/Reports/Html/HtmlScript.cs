using System.Security.Cryptography;
using System.Text;

namespace Vhost.Conformance;

/// <summary>What the page does: filters, opens the case that an address names, copies command lines, opens everything for print. Nothing depends on it.</summary>
internal static class HtmlScript
{
    /// <summary>The script, which stands in the page itself.</summary>
    internal const string Code = """
        (() => {
          "use strict";
          const all = (selector, from = document) => [...from.querySelectorAll(selector)];
          const cases = all(".case");
          const buttons = all(".filters [data-show]");
          const box = document.querySelector(".filters input");
          const chosen = new Set();
          const texts = new Map();

          const textOf = (one) => {
            if (!texts.has(one)) texts.set(one, one.textContent.toLowerCase());
            return texts.get(one);
          };

          const apply = () => {
            const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
            let shown = 0;
            for (const one of cases) {
              one.hidden = !((chosen.size === 0 || chosen.has(one.dataset.verdict)) && words.every((word) => textOf(one).includes(word)));
              if (!one.hidden) shown++;
            }
            for (const chapter of all(".chapter")) chapter.hidden = !chapter.querySelector(".case:not([hidden])");
            for (const button of buttons)
              button.setAttribute("aria-pressed", String(button.dataset.show ? chosen.has(button.dataset.show) : chosen.size === 0));
            document.querySelector(".filters output").textContent = `${shown} of ${cases.length} shown`;
          };

          const choose = (verdict) => {
            if (!verdict) chosen.clear();
            else if (!chosen.delete(verdict)) chosen.add(verdict);
            apply();
          };

          const clear = () => {
            chosen.clear();
            box.value = "";
            apply();
          };

          const reveal = () => {
            let id = location.hash.slice(1);
            try { id = decodeURIComponent(id); } catch { }
            const target = document.getElementById(id);
            if (!target || !target.closest(".chapter")) return;
            if (target.hidden || target.closest("[hidden]")) clear();
            if (target.matches(".case")) target.open = true;
            target.scrollIntoView();
          };

          const copy = async (button) => {
            const code = button.parentElement.querySelector("code");
            try {
              await navigator.clipboard.writeText(code.textContent);
            } catch {
              getSelection().selectAllChildren(code);
              document.execCommand("copy");
            }
            button.textContent = "Copied";
            setTimeout(() => { button.textContent = "Copy"; }, 2000);
          };

          const unfold = (open) => cases.filter((one) => !one.hidden).forEach((one) => { one.open = open; });

          document.addEventListener("click", (event) => {
            const button = event.target.closest("button");
            if (!button) return;
            if (button.matches(".copy")) copy(button);
            else if (button.dataset.show !== undefined) choose(button.dataset.show);
            else if (button.dataset.unfold !== undefined) unfold(button.dataset.unfold === "true");
          });
          document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
          box.addEventListener("input", apply);
          addEventListener("hashchange", reveal);

          let closed = [];
          addEventListener("beforeprint", () => {
            closed = cases.filter((one) => !one.open);
            closed.forEach((one) => { one.open = true; });
          });
          addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

          document.documentElement.classList.add("scripted");
          clear();
          reveal();
        })();
        """;

    /// <summary>What the page lets run and load: this script and its own styles, nothing from anywhere, whatever a peer has said.</summary>
    internal static string Policy { get; } =
        $"default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src 'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(Code)))}'";
}
