using System.Globalization;
using System.Net;
using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>Chromium without a window, with a profile of its own.</summary>
internal sealed partial class Browser(ReportFolder folder)
{
    /// <summary>As much as a browser may take to start on a busy machine.</summary>
    private static readonly TimeSpan _limit = TimeSpan.FromMinutes(2);

    private static readonly string[] _always =
    [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    ];

    private readonly string _program = Peers.Require("chromium", "chromium");

    internal const string Dark = "--blink-settings=preferredColorScheme=0";

    /// <summary>Takes a picture; returns its size in pixels and in bytes.</summary>
    internal async Task<(int Width, int Height, int Bytes)> PictureAsync(string page, string picture, int width, int height, params string[] further)
    {
        await RunAsync(page, [$"--window-size={width},{height}", $"--screenshot={folder.File(picture)}", .. further]);
        byte[] png = await File.ReadAllBytesAsync(folder.File(picture));
        png.AsSpan(1, 3).SequenceEqual("PNG"u8).Should().BeTrue();
        return (Number(png, 16), Number(png, 20), png.Length);
    }

    internal Task PrintAsync(string page, string paper, params string[] further) => RunAsync(page, [$"--print-to-pdf={folder.File(paper)}", .. further]);

    /// <summary>The elements of a page after its scripts ran.</summary>
    internal Task<string> ElementsAsync(string page) => RunAsync(page, ["--dump-dom"]);

    /// <summary>What an expression gives in a page that is so wide: windows are never narrower than 500 pixels, so the page stands in a frame. <c>d</c> is its document, <c>w</c> its window.</summary>
    internal async Task<string> AskAsync(string page, int width, string expression, params string[] further)
    {
        string frame = await FrameAsync(page, width, 800, $"document.documentElement.dataset.answer = (() => {{ {expression} }})();");
        Match answer = Answer().Match(await RunAsync(frame, ["--dump-dom", .. further]));
        answer.Success.Should().BeTrue("the page answers");
        return WebUtility.HtmlDecode(answer.Groups["text"].Value);
    }

    /// <summary>Writes a page that shows another one in a frame, and runs a script when it is there.</summary>
    internal async Task<string> FrameAsync(string page, int width, int height, string script)
    {
        string path = folder.File($"frame-{width}.html");
        string inner = WebUtility.HtmlEncode(await File.ReadAllTextAsync(page));
        await File.WriteAllTextAsync(path, $$"""
            <!DOCTYPE html><meta charset="utf-8"><body style="margin:0">
            <iframe id="frame" style="border:0;display:block" width="{{width}}" height="{{height}}" srcdoc="{{inner}}"></iframe>
            <script>frame.onload = () => { const d = frame.contentDocument, w = frame.contentWindow; {{script}} };</script>
            """);
        return path;
    }

    private async Task<string> RunAsync(string page, string[] arguments)
    {
        string profile = Path.Combine(Path.GetTempPath(), $"vu-browser-{Guid.NewGuid():N}");
        try
        {
            await using ChildProcess browser = ChildProcess.Start(_program, [.. _always, $"--user-data-dir={profile}", .. arguments, $"file://{page}"]);
            ChildProcess.Outcome outcome = await browser.EndAsync(_limit);
            outcome.ExitCode.Should().Be(0, "{0}", string.Join('\n', outcome.Errors));
            return outcome.OutputText;
        }
        finally
        {
            if (Directory.Exists(profile))
                Directory.Delete(profile, recursive: true);
        }
    }

    private static int Number(byte[] png, int at) => int.Parse(Convert.ToHexString(png, at, 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    [GeneratedRegex("^<html[^>]* data-answer=\"(?<text>[^\"]*)\"", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Answer();
}
