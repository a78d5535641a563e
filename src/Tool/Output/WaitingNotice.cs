namespace Vhost.Tool;

/// <summary>Says on standard error what a command waits for, once it has waited so long that somebody may wonder. Nothing is said when it is disposed of before.</summary>
internal sealed class WaitingNotice : IDisposable
{
    private static readonly TimeSpan _unsaid = TimeSpan.FromSeconds(2);

    private readonly Timer _timer;

    internal WaitingNotice(string text) =>
        _timer = new Timer(static state => ToolOutput.PrintNotice((string)state!), "waiting for " + text, _unsaid, Timeout.InfiniteTimeSpan);

    public void Dispose() => _timer.Dispose();
}
