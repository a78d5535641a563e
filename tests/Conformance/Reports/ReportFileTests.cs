namespace Vhost.Conformance.Tests;

public sealed class ReportFileTests
{
    [Theory]
    [InlineData("a.html", true)]
    [InlineData("out/a.b.xml", true)]
    [InlineData("/tmp/a.TAP", true)]
    [InlineData("a.json", true)]
    [InlineData("a.htm", false)]
    [InlineData("html", false)]
    [InlineData("a.json/b", false)]
    [InlineData("", false)]
    public void The_ending_says_whether_a_format_is_known(string path, bool known) => ConformanceReportFile.IsKnown(path).Should().Be(known);

    [Fact]
    public async Task An_unknown_ending_is_refused_and_the_four_are_named()
    {
        Func<Task> write = static () => ConformanceReportFile.WriteAsync(SampleReport.Whole, "report.txt", CancellationToken.None);
        await write.Should().ThrowAsync<ArgumentException>().WithMessage("report.txt: a report ends in .html, .xml, .tap, .json.*");
    }

    [Theory]
    [InlineData("report.html", "<!DOCTYPE html>\n")]
    [InlineData("report.xml", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")]
    [InlineData("report.tap", "TAP version 14\n")]
    [InlineData("report.json", "{\"peer\":{\"role\":\"back-end\"")]
    public async Task The_file_is_replaced_by_a_whole_one_of_its_format(string name, string beginning)
    {
        using ReportFolder folder = new();
        string path = folder.File($"new/folder/{name}");
        await folder.WriteAsync(SampleReport.Empty, $"new/folder/{name}");
        await folder.WriteAsync(SampleReport.Whole, $"new/folder/{name}");
        (await File.ReadAllTextAsync(path)).Should().StartWith(beginning).And.EndWith("\n").And.NotContain("\r");
        (await File.ReadAllBytesAsync(path))[0].Should().NotBe(0xef, "there is no byte order mark");
        Directory.GetFiles(Path.GetDirectoryName(path)!).Where(file => Path.GetFileName(file).StartsWith('.')).Should().BeEmpty("nothing is left beside it");
    }

    [Fact]
    public async Task A_report_that_is_given_up_leaves_the_old_file_and_nothing_else()
    {
        using ReportFolder folder = new();
        string path = await folder.WriteAsync(SampleReport.Empty, "cancelled/report.tap");
        string old = await File.ReadAllTextAsync(path);
        Func<Task> write = () => ConformanceReportFile.WriteAsync(SampleReport.Whole, path, new CancellationToken(canceled: true));
        await write.Should().ThrowAsync<OperationCanceledException>();
        (await File.ReadAllTextAsync(path)).Should().Be(old);
        Directory.GetFiles(folder.File("cancelled")).Should().Equal(path);
    }
}
