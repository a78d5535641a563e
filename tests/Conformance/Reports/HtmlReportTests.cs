using System.Globalization;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>The page as browsers show it.</summary>
public sealed class HtmlReportTests : IDisposable
{
    private readonly ReportFolder _folder = new();

    [SkippableFact]
    public async Task It_is_never_wider_than_the_window()
    {
        Browser browser = new(_folder);
        string page = await _folder.WriteAsync(SampleReport.Whole, "width.html");
        string answer = await browser.AskAsync(page, 360, """
            d.querySelectorAll('details').forEach((one) => { one.open = true; });
            return [320, 360, 768, 1280].map((width) => {
              frame.width = width;
              return [d.documentElement.scrollWidth, w.innerWidth, d.querySelectorAll('details[open]').length].join(' ');
            }).join('; ');
            """);
        answer.Should().Be("320 320 43; 360 360 43; 768 768 43; 1280 1280 43");
    }

    [SkippableFact]
    public async Task The_numbers_are_those_of_the_report()
    {
        Browser browser = new(_folder);
        string page = await _folder.WriteAsync(SampleReport.Whole, "numbers.html");
        string answer = await browser.AskAsync(page, 1280, """
            const totals = [...d.querySelectorAll('[data-total]')].map((one) => `${one.dataset.total} ${one.querySelector('dd').textContent}`);
            const column = (n) => [...d.querySelectorAll(`.chapters tbody td:nth-child(${n})`)].reduce((sum, one) => sum + Number(one.textContent), 0);
            return [...totals, 'columns ' + [2, 3, 4, 5, 6].map(column), 'findings ' + d.querySelectorAll('.findings li').length].join('; ');
            """);
        ConformanceReport report = SampleReport.Whole;
        int[] counts = [.. ((string[])["FAIL", "WEDGED", "PASS", "REJECT", "SKIP"]).Select(report.Count)];
        answer.Should().Be(string.Create(
            CultureInfo.InvariantCulture,
            $"FAIL {counts[0]}; WEDGED {counts[1]}; PASS {counts[2]}; REJECT {counts[3]}; SKIP {counts[4]}; columns {string.Join(',', counts)}; findings {counts[0] + counts[1]}"));
    }

    [SkippableFact]
    public async Task Filters_show_what_they_name()
    {
        Browser browser = new(_folder);
        string page = await _folder.WriteAsync(SampleReport.Whole, "filters.html");
        string answer = await browser.AskAsync(page, 1280, """
            const said = [];
            const look = () => said.push([...d.querySelectorAll('.case')].filter((one) => one.checkVisibility()).length + ' in ' + [...d.querySelectorAll('.chapter')].filter((one) => one.checkVisibility()).length);
            const press = (verdict) => { d.querySelector(`[data-show="${verdict}"]`).click(); look(); };
            const type = (words) => { const box = d.querySelector('input'); box.value = words; box.dispatchEvent(new w.Event('input')); look(); };
            look(); press('FAIL'); press('WEDGED'); type('reply GET_vring'); type(''); press('FAIL'); press(''); type('no such words');
            said.push(d.querySelector('output').textContent);
            type('kick-before'); d.querySelector('[data-unfold=true]').click();
            said.push(d.querySelectorAll('details[open]').length);
            return said.join('; ');
            """);
        answer.Should().Be("43 in 9; 3 in 3; 4 in 4; 1 in 1; 4 in 4; 1 in 1; 43 in 9; 0 in 0; 0 of 43 shown; 1 in 1; 1");
    }

    [SkippableFact]
    public async Task An_address_opens_its_case()
    {
        Browser browser = new(_folder);
        string page = await _folder.WriteAsync(SampleReport.Whole, "address.html");
        string elements = await browser.ElementsAsync($"{page}#ring-states%2Fkick-before-enable");
        elements.Should().Contain("""id="ring-states/kick-before-enable" data-verdict="FAIL" open=""").And.Contain("43 of 43 shown");
    }

    [SkippableFact]
    public async Task What_a_peer_said_is_text_and_nothing_is_fetched()
    {
        Browser browser = new(_folder);
        string page = await _folder.WriteAsync(SampleReport.Whole, "hostile.html");
        string answer = await browser.AskAsync(page, 1280, """
            return [d.images.length, d.scripts.length, d.querySelectorAll('[onerror], iframe, object, form[action]').length, w.performance.getEntriesByType('resource').length,
              d.getElementById('hostile-control/b12-text').querySelector('.title').textContent].join(' ');
            """);
        answer.Should().Be($"0 1 0 0 {VisibleText.Of(SampleReport.Nasty)}");
    }

    [SkippableFact]
    public async Task It_follows_the_dark_scheme()
    {
        Browser browser = new(_folder);
        string page = await _folder.WriteAsync(SampleReport.Whole, "scheme.html");
        const string Background = "return w.getComputedStyle(d.body).backgroundColor;";
        (await browser.AskAsync(page, 1280, Background)).Should().Be("rgb(245, 246, 248)");
        (await browser.AskAsync(page, 1280, Background, Browser.Dark)).Should().Be("rgb(15, 19, 24)");
    }

    [SkippableFact]
    public async Task Pictures_are_not_empty()
    {
        Browser browser = new(_folder);
        string page = await _folder.WriteAsync(SampleReport.Whole, "picture.html");
        (int Width, int Height, int Bytes) desk = await browser.PictureAsync(page, "desk.png", 1280, 2000);
        (int Width, int Height, int Bytes) dark = await browser.PictureAsync(page, "dark.png", 1280, 2000, Browser.Dark);
        (int Width, int Height, int Bytes) phone = await browser.PictureAsync(await browser.FrameAsync(page, 360, 800, ""), "phone.png", 500, 800);
        (desk.Width, desk.Height).Should().Be((1280, 2000));
        (phone.Width, phone.Height).Should().Be((500, 800));
        // One colour all over is less than 10 000 bytes.
        ((int[])[desk.Bytes, dark.Bytes, phone.Bytes]).Should().OnlyContain(bytes => bytes > 30_000);
    }

    [SkippableTheory]
    [InlineData("with its script", "")]
    [InlineData("without", "<script>")]
    public async Task On_paper_everything_is_open_and_nothing_to_press(string how, string left)
    {
        string reader = Peers.Require("pdftotext", "poppler-utils");
        Browser browser = new(_folder);
        string page = await _folder.WriteAsync(SampleReport.Whole, "paper.html");
        string markup = await File.ReadAllTextAsync(page);
        await File.WriteAllTextAsync(page, left.Length == 0 ? markup : markup[..markup.IndexOf(left, StringComparison.Ordinal)]);
        await browser.PrintAsync(page, "paper.pdf", Browser.Dark);
        ChildProcess.Outcome text = await ChildProcess.RunAsync(reader, "-layout", _folder.File("paper.pdf"), "-");
        foreach (ConformanceResult result in SampleReport.Whole.Results.Where(result => result.Verdict != ConformanceVerdict.Fail))
            text.OutputText.Should().Contain($"--case {result.Case.Id}", "it is printed {0}", how);
        text.OutputText.Should().Contain("GET_VRING_BASE reply, 8 bytes: ring 0, num 1").And.NotContainAny("Open all", "Copy");
    }

    [SkippableTheory]
    [InlineData("whole")]
    [InlineData("good")]
    [InlineData("empty")]
    public async Task Tidy_finds_no_error(string which)
    {
        string tidy = Peers.Require("tidy", "tidy");
        ConformanceReport report = which switch { "whole" => SampleReport.Whole, "good" => SampleReport.Good, _ => SampleReport.Empty };
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(tidy, "-e", "-utf8", await _folder.WriteAsync(report, $"{which}.html"));
        // 1: warnings. This tidy is older than groups in lists of names and values, of which it warns.
        outcome.ExitCode.Should().BeLessThan(2, "{0}", string.Join('\n', outcome.Errors));
        outcome.Errors.Where(line => line.Contains("Error:", StringComparison.Ordinal) || line.Contains("not recognized", StringComparison.Ordinal) || line.Contains("duplicate", StringComparison.Ordinal))
            .Should().BeEmpty();
    }

    public void Dispose() => _folder.Dispose();
}
