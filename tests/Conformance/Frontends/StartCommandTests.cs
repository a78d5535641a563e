using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>A front-end that is started for each case, and what it says when it does not come. All of them are waited for at once.</summary>
public sealed class StartCommandTests
{
    private const string Ended = "it ended before it connected";
    private const string Last = "; the last that it printed: ";
    private const int MostBytes = 4096;

    private static readonly Task<ConformanceResult> _fails = ExamineAsync("echo no such machine >&2; exit 1");
    private static readonly Task<ConformanceResult> _waits = ExamineAsync("echo waiting for a key >&2; exec sleep 1000");
    private static readonly Task<ConformanceResult> _isSilent = ExamineAsync("echo this is not an error; exit 1");
    private static readonly Task<ConformanceResult> _saysMuch = ExamineAsync("seq 1 100000 >&2; seq 1 100000");
    private static readonly Task<ConformanceResult> _endsNoLine = ExamineAsync("head -c 1000000 /dev/zero | tr '\\0' x >&2; printf end >&2");
    private static readonly Task<ConformanceResult> _leavesOneRunning = ExamineAsync("sleep 20 & echo gone >&2; exit 1");
    private static readonly Task<ConformanceResult> _crashes = ExamineAsync("echo assertion failed >&2; kill -ABRT $$");

    [Fact]
    public async Task A_front_end_that_ends_at_once_is_told_with_its_last_words()
    {
        ConformanceResult found = await _fails;

        found.Verdict.Should().Be(ConformanceVerdict.Fail);
        found.Came.Should().Be($"{Ended}{Last}no such machine");
        Notes(found).Should().Equal("its standard error: no such machine");
    }

    [Fact]
    public async Task A_front_end_that_does_not_come_is_told_with_its_last_words() => (await _waits).Came.Should().Be($"it does not connect{Last}waiting for a key");

    [Fact]
    public async Task A_front_end_that_says_nothing_is_told_without_words() => (await _isSilent).Came.Should().Be(Ended);

    [Fact]
    public async Task Of_much_that_is_printed_the_last_ten_lines_are_kept() =>
        Notes(await _saysMuch).Should().Equal(Enumerable.Range(99_991, 10).Select(static line => $"its standard error: {line}"));

    [Fact]
    public async Task Of_a_line_without_an_end_the_last_part_is_kept() =>
        (await _endsNoLine).Came.Should().EndWith("xxxend").And.HaveLength(Ended.Length + Last.Length + MostBytes);

    [Fact]
    public async Task What_a_front_end_leaves_running_does_not_hold_the_run_up() => (await _leavesOneRunning).Came.Should().Be($"{Ended}{Last}gone");

    [Fact]
    public async Task A_crash_is_told_with_its_last_words()
    {
        ConformanceResult found = await _crashes;

        found.Came.Should().Be("signal 6 ended it");
        Notes(found).Should().Equal("the front-end was ended by signal 6", "its standard error: assertion failed");
    }

    private static IEnumerable<string> Notes(ConformanceResult found) => found.Dialogue.Where(static line => line.From == DialogueSpeaker.Note).Select(static line => line.Text);

    private static async Task<ConformanceResult> ExamineAsync(string command)
    {
        using TempSocket socket = new();
        FrontendSuite suite = new(new() { SocketPath = socket.Path, Only = "conduct/is-served", Timeout = TimeSpan.FromSeconds(4), StartCommand = command });
        return (await suite.RunAsync().WaitAsync(TimeSpan.FromSeconds(15))).Results[0];
    }
}
