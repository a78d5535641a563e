namespace Vhost.Conformance;

/// <summary>How the page looks: on a phone and on a desk, in light and in the dark, and on paper.</summary>
internal static class HtmlStyle
{
    /// <summary>The whole sheet.</summary>
    internal const string Sheet = Colours + "\n" + Page + "\n" + Overview + "\n" + Cases + "\n" + Dialogue + "\n" + Paper;

    /// <summary>Ink of a verdict is read on its own tint, on a card and on the page.</summary>
    private const string Colours = """
        :root {
          --page: #f5f6f8; --card: #ffffff; --sunk: #eef0f3; --text: #1b1f24; --quiet: #545c66; --line: #d5dae0; --rail: #a3adb8; --link: #0a58b5;
          --pass: #116329; --pass-tint: #e3f6e7; --pass-fill: #2da44e;
          --reject: #0a5290; --reject-tint: #e1effb; --reject-fill: #54a0e3;
          --fail: #a40e26; --fail-tint: #fde7e9; --fail-fill: #cf222e;
          --wedged: #75309e; --wedged-tint: #f4e8fb; --wedged-fill: #8e44bd;
          --skip: #545c66; --skip-tint: #e9ecef; --skip-fill: #b6bec7;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --page: #0f1318; --card: #181d24; --sunk: #11161c; --text: #e4e8ed; --quiet: #9ca7b4; --line: #2d3540; --rail: #566373; --link: #79b4f7;
            --pass: #6fdd8b; --pass-tint: #12301c; --pass-fill: #2f9a4c;
            --reject: #86c1f7; --reject-tint: #10293f; --reject-fill: #3d83c4;
            --fail: #ff9a9a; --fail-tint: #45161a; --fail-fill: #e5484d;
            --wedged: #d9a9f5; --wedged-tint: #331a42; --wedged-fill: #a55bd3;
            --skip: #a7b1bd; --skip-tint: #262d36; --skip-fill: #566373;
          }
        }
        .pass { --ink: var(--pass); --tint: var(--pass-tint); --fill: var(--pass-fill); }
        .reject { --ink: var(--reject); --tint: var(--reject-tint); --fill: var(--reject-fill); }
        .fail { --ink: var(--fail); --tint: var(--fail-tint); --fill: var(--fail-fill); }
        .wedged { --ink: var(--wedged); --tint: var(--wedged-tint); --fill: var(--wedged-fill); }
        .skip { --ink: var(--skip); --tint: var(--skip-tint); --fill: var(--skip-fill); }
        """;

    private const string Page = """
        * { box-sizing: border-box; }
        html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
        body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--page); color: var(--text); overflow-wrap: anywhere;
          font: 0.9375rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
        h1, h2, h3, p, dl, dd, ol, figure, pre { margin: 0; padding: 0; }
        ol { list-style: none; }
        h1 { font-size: 1.5rem; line-height: 1.2; letter-spacing: -0.01em; }
        h2 { font-size: 1.0625rem; margin: 1.75rem 0 0.6rem; }
        h3 { font-size: 0.9375rem; margin: 1.25rem 0 0.4rem; }
        small { font-size: 0.8125rem; font-weight: 400; color: var(--quiet); margin-left: 0.4em; }
        a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: 0.15em; }
        a:hover { text-decoration-thickness: 2px; }
        code, pre, .id, .sequence, .at { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
        [hidden] { display: none !important; }
        .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
        :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 4px; }
        .label { color: var(--quiet); }
        .kind { font-size: 0.8125rem; color: var(--quiet); }
        .outcome { display: inline-block; margin: 0.6rem 0 0.75rem; padding: 0.25rem 0.7rem; border-radius: 6px; font-weight: 600; color: var(--ink); background: var(--tint); }
        .facts { display: flex; flex-wrap: wrap; gap: 0.3rem 1.5rem; }
        .facts > div { display: flex; gap: 0.45rem; min-width: 0; }
        .facts dt { color: var(--quiet); flex: none; }
        .facts dd { min-width: 0; }
        .facts.long { display: grid; gap: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
        .facts.long > div { display: grid; grid-template-columns: 10rem minmax(0, 1fr); gap: 1rem; padding: 0.4rem 0.9rem; }
        .facts.long > div + div { border-top: 1px solid var(--line); }
        .facts.long dt { overflow-wrap: anywhere; }
        .verdict { display: inline-flex; align-items: baseline; gap: 0.35em; color: var(--ink); font-weight: 700; font-size: 0.75rem; letter-spacing: 0.02em; white-space: nowrap; }
        .mark { font-family: "DejaVu Sans", "Segoe UI Symbol", "Apple Symbols", sans-serif; font-weight: 700; }
        .severity { padding: 0 0.45em; border: 1px solid var(--line); border-radius: 4px; font-size: 0.75rem; color: var(--quiet); white-space: nowrap; }
        .severity.high { color: var(--fail); border-color: currentColor; }
        .severity.critical { color: var(--card); background: var(--fail); border-color: var(--fail); font-weight: 700; }
        .id { font-size: 0.8125rem; color: var(--quiet); }
        .scroll { overflow-x: auto; }
        @media (max-width: 40rem) {
          body { padding: 0.75rem; }
          .facts { gap: 0.15rem 1.1rem; }
          .facts.long > div { grid-template-columns: minmax(0, 1fr); gap: 0; }
        }
        """;

    private const string Overview = """
        .totals { display: grid; grid-template-columns: repeat(5, 1fr); gap: 0.6rem; margin-top: 1rem; }
        .totals > div { padding: 0.55rem 0.8rem 0.5rem; background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--fill); border-radius: 8px; }
        .totals dd { font-size: 2.25rem; font-weight: 700; line-height: 1.1; font-variant-numeric: tabular-nums; color: var(--ink); }
        .totals .nothing { border-top-color: var(--line); }
        .totals .nothing dd { color: var(--quiet); font-weight: 400; }
        .findings ol { display: grid; background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
        .findings li { display: grid; grid-template-columns: 9.5rem minmax(0, 1fr); gap: 0.2rem 0.8rem; padding: 0.55rem 0.9rem; border-left: 4px solid var(--fill); }
        .findings li + li { border-top: 1px solid var(--line); }
        .findings .marks { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0.5rem; }
        .findings .title { font-weight: 600; }
        .findings .title a { color: inherit; text-decoration-color: var(--rail); }
        .findings .title a:hover { text-decoration-color: currentColor; }
        .findings .came { white-space: pre-wrap; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; line-clamp: 3; overflow: hidden; }
        .chapters { width: 100%; border-collapse: collapse; background: var(--card); font-variant-numeric: tabular-nums; }
        .scroll:has(> .chapters) { border: 1px solid var(--line); border-radius: 8px; }
        .chapters th, .chapters td { padding: 0.35rem 0.6rem; text-align: right; white-space: nowrap; }
        .chapters thead th { font-size: 0.75rem; color: var(--quiet); background: var(--sunk); }
        .chapters tbody tr { border-top: 1px solid var(--line); }
        .chapters th:first-child { text-align: left; padding-left: 0.9rem; width: 100%; }
        .chapters tbody th { font-weight: 500; }
        .chapters td { color: var(--ink, var(--quiet)); font-weight: 600; }
        .chapters td.nothing, .chapters td:last-child { color: var(--quiet); font-weight: 400; }
        .named { display: grid; grid-template-columns: 11rem 1fr; align-items: center; gap: 0.3rem 1rem; }
        .bar { display: flex; gap: 1px; height: 0.7rem; border-radius: 3px; overflow: hidden; }
        .bar span { flex: 1 1 0; min-width: 3px; background: var(--fill); }
        .bar .fail, .bar .wedged { background-image: repeating-linear-gradient(45deg, transparent 0 3px, rgb(255 255 255 / 0.45) 3px 5px); }
        .bar .wedged { background-image: repeating-linear-gradient(-45deg, transparent 0 3px, rgb(255 255 255 / 0.45) 3px 5px); }
        @media (max-width: 40rem) {
          .totals { gap: 0.35rem; }
          .totals > div { padding: 0.35rem 0.4rem; }
          .totals dd { font-size: 1.5rem; }
          .totals .verdict { font-size: 0.6875rem; gap: 0.2em; letter-spacing: 0; }
          .findings li { grid-template-columns: minmax(0, 1fr); padding: 0.5rem 0.7rem; }
          .chapters th, .chapters td { padding: 0.35rem 0.3rem; }
          .chapters th:first-child { padding-left: 0.7rem; }
          .chapters thead .word { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
          .named { grid-template-columns: 1fr; min-width: 7.5rem; }
        }
        @media (max-width: 22rem) {
          .totals { grid-template-columns: repeat(3, 1fr); }
        }
        """;

    private const string Cases = """
        .filters { display: none; flex-wrap: wrap; align-items: center; gap: 0.5rem; padding: 0.5rem 0; background: var(--page); }
        .scripted .filters { display: flex; }
        .buttons, .folds { display: flex; flex-wrap: wrap; gap: 0.3rem; }
        button { font: inherit; font-size: 0.8125rem; min-height: 2rem; padding: 0.15rem 0.65rem; color: var(--text); background: var(--card); border: 1px solid var(--line); border-radius: 6px; cursor: pointer; }
        button:hover { border-color: var(--quiet); }
        button[aria-pressed="true"] { background: var(--tint, var(--sunk)); border-color: var(--ink, var(--text)); box-shadow: inset 0 0 0 1px var(--ink, var(--text)); }
        button .count { margin-left: 0.45em; font-variant-numeric: tabular-nums; }
        input { flex: 1 1 12rem; min-width: 0; min-height: 2rem; padding: 0.15rem 0.6rem; font: inherit; font-size: 0.875rem; color: var(--text); background: var(--card); border: 1px solid var(--rail); border-radius: 6px; }
        input::placeholder { color: var(--quiet); opacity: 1; }
        output { font-size: 0.8125rem; color: var(--quiet); white-space: nowrap; }
        .cases { border: 1px solid var(--line); border-radius: 8px; overflow: clip; }
        .case { background: var(--card); border-left: 4px solid var(--fill); }
        .case:not([hidden]) ~ .case { border-top: 1px solid var(--line); }
        summary { display: grid; grid-template-columns: 5.5rem minmax(0, 1fr) auto 4rem 0.6rem; align-items: baseline; gap: 0.2rem 0.8rem; padding: 0.4rem 0.8rem; cursor: pointer; list-style: none; }
        summary::-webkit-details-marker { display: none; }
        summary::after { content: ""; grid-column: 5; width: 0.4rem; height: 0.4rem; align-self: center; border: solid var(--quiet); border-width: 0 2px 2px 0; transform: rotate(-45deg); }
        .case[open] > summary::after { transform: translateY(-0.1rem) rotate(45deg); }
        summary:hover, .case[open] > summary { background: var(--sunk); }
        summary:focus-visible { outline-offset: -3px; }
        .what { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 0.8rem; }
        .case:is(.fail, .wedged) summary .title { font-weight: 600; }
        .took { grid-column: 4; text-align: right; font-size: 0.8125rem; color: var(--quiet); font-variant-numeric: tabular-nums; white-space: nowrap; }
        .body { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0.8rem; padding: 0.8rem; border-top: 1px solid var(--line); }
        .comparison { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0.8rem; }
        .comparison > div { padding: 0.5rem 0.8rem; background: var(--sunk); border-radius: 6px; }
        .comparison .came { background: var(--tint); }
        .comparison dt { font-size: 0.8125rem; color: var(--quiet); }
        .comparison .came dt { color: var(--ink); font-weight: 600; }
        .comparison dd { white-space: pre-wrap; max-height: 16rem; overflow-y: auto; }
        .body .facts { font-size: 0.875rem; }
        .command { display: flex; align-items: stretch; gap: 0.5rem; }
        pre { flex: 1; min-width: 0; overflow-x: auto; padding: 0.4rem 0.7rem; font-size: 0.8125rem; line-height: 1.4; background: var(--sunk); border: 1px solid var(--line); border-radius: 6px; overflow-wrap: normal; }
        .copy { display: none; min-width: 4.6rem; }
        .scripted .copy { display: block; }
        @media (max-width: 40rem) {
          .filters { gap: 0.4rem; }
          input { flex-basis: 100%; min-height: 2.4rem; font-size: 1rem; }
          summary { grid-template-columns: auto minmax(0, 1fr) auto 0.6rem; padding: 0.5rem 0.7rem; }
          summary::after { grid-area: 1 / 4; }
          summary .verdict { grid-area: 1 / 1; }
          summary .severity { grid-area: 1 / 2; justify-self: start; }
          .took { grid-area: 1 / 3; }
          .what { grid-area: 2 / 1 / 3 / 5; }
          .body { padding: 0.7rem; }
          .comparison { grid-template-columns: minmax(0, 1fr); gap: 0.5rem; }
          .command { display: grid; }
          .copy { justify-self: end; }
          pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 9rem; }
        }
        @media (min-width: 40.01rem) and (min-height: 30rem) {
          .filters { position: sticky; top: 0; z-index: 1; }
          .scripted { scroll-padding-top: 6rem; }
        }
        """;

    private const string Dialogue = """
        .dialogue { --time: 5rem; --pad: 1.1rem; max-width: 60rem; }
        figcaption { font-weight: 600; margin-bottom: 0.4rem; }
        .ends { display: flex; justify-content: space-between; margin-left: calc(var(--time) - 1.6rem); }
        .ends span { width: 4rem; padding: 0.05rem 0; text-align: center; font-size: 0.8125rem; font-weight: 600; background: var(--sunk); border: 1px solid var(--rail); border-radius: 5px; }
        .sequence { font-size: 0.8125rem; line-height: 1.4; margin-right: 2rem; }
        .sequence li { display: grid; grid-template-columns: var(--time) minmax(0, 1fr); break-inside: avoid; }
        .at { align-self: end; padding: 0 1.1rem 0 0; text-align: right; font-size: 0.75rem; color: var(--quiet); white-space: nowrap; font-variant-numeric: tabular-nums; }
        .note .at { align-self: center; }
        .lane { display: block; min-width: 0; padding: 0.35rem 0; border: solid var(--rail); border-width: 0 2px; margin: 0 -1px; }
        .said { position: relative; display: block; padding: 0 var(--pad) 0.2rem; white-space: pre-wrap; border-bottom: 2px solid var(--arrow); }
        .said::after { content: ""; position: absolute; bottom: -6px; border: 5px solid transparent; }
        .suite { --arrow: var(--link); }
        .suite .said::after { right: 0; border-left: 9px solid var(--arrow); border-right: 0; }
        .peer { --arrow: var(--wedged); }
        .words { display: block; width: fit-content; max-width: 80%; }
        .peer .words { margin-left: auto; }
        .note .words { max-width: none; }
        .peer .said::after { left: 0; border-right: 9px solid var(--arrow); border-left: 0; }
        .note .said { width: fit-content; margin: 0 auto; max-width: calc(100% - 2 * var(--pad)); padding: 0.15rem 0.7rem; text-align: center; color: var(--quiet); background: var(--sunk); border: 1px dashed var(--rail); border-radius: 5px; }
        .note .said::after { content: none; }
        .channel { padding: 0 0.4em; font-size: 0.75rem; font-family: system-ui, sans-serif; color: var(--text); background: var(--sunk); border: 1px solid var(--rail); border-radius: 4px; }
        @media (max-width: 40rem) {
          .dialogue { --time: 3.9rem; --pad: 0.7rem; }
          .sequence { font-size: 0.75rem; margin-right: 0.4rem; }
          .ends { margin-left: calc(var(--time) - 0.4rem); }
          .ends span { width: 3rem; }
          .at { font-size: 0.625rem; padding-right: 0.4rem; }
          .words { max-width: 92%; }
        }
        """;

    /// <summary>Everything is opened: on paper, and where no script runs.</summary>
    private const string Paper = """
        @media print, (scripting: none) {
          details::details-content { display: block; content-visibility: visible; block-size: auto; opacity: 1; }
        }
        @media print {
          :root {
            color-scheme: light;
            --page: #ffffff; --card: #ffffff; --sunk: #f5f6f8; --text: #000000; --quiet: #454c55; --line: #c5ccd4; --rail: #8a95a1; --link: #0a58b5;
            --pass: #116329; --pass-tint: #e3f6e7; --pass-fill: #2da44e;
            --reject: #0a5290; --reject-tint: #e1effb; --reject-fill: #54a0e3;
            --fail: #a40e26; --fail-tint: #fde7e9; --fail-fill: #cf222e;
            --wedged: #75309e; --wedged-tint: #f4e8fb; --wedged-fill: #8e44bd;
            --skip: #454c55; --skip-tint: #e9ecef; --skip-fill: #b6bec7;
          }
          @page { margin: 14mm 12mm; }
          * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
          html { font-size: 11px; }
          body { max-width: none; padding: 0; font-size: 1rem; }
          .body { gap: 0.4rem; padding: 0.4rem 0.8rem; }
          summary { grid-template-columns: 5.5rem minmax(0, 1fr) auto 4rem; padding: 0.25rem 0.8rem; }
          summary::after { content: none; }
          .scripted .filters, .scripted .copy { display: none; }
          .scroll, pre, .comparison dd { overflow: visible; max-height: none; }
          pre { white-space: pre-wrap; overflow-wrap: anywhere; }
          summary, .comparison, .findings li, .chapters tr { break-inside: avoid; }
          h2, h3, summary, figcaption, .ends { break-after: avoid; }
          a { color: inherit; text-decoration: none; }
        }
        """;
}
