namespace Vhost.Tests.Support;

/// <summary>Lines that a program writes, kept, and waits for some of them.</summary>
public sealed class LineBuffer
{
    private readonly Lock _gate = new();
    private readonly List<string> _lines = [];
    private readonly List<(Func<string, bool> Matches, TaskCompletionSource<string> Found)> _waiting = [];

    public IReadOnlyList<string> Lines
    {
        get
        {
            lock (_gate)
                return [.. _lines];
        }
    }

    public int Count
    {
        get
        {
            lock (_gate)
                return _lines.Count;
        }
    }

    public void Add(string? line)
    {
        if (line is null)
            return;
        lock (_gate)
        {
            _lines.Add(line);
            _waiting.RemoveAll(wait => wait.Matches(line) && wait.Found.TrySetResult(line));
        }
    }

    /// <summary>The first line, from a number of lines on, that matches; now or later.</summary>
    public Task<string> FirstAsync(Func<string, bool> matches, int from = 0)
    {
        TaskCompletionSource<string> found = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            if (_lines.Skip(from).FirstOrDefault(matches) is { } line)
                found.SetResult(line);
            else
                _waiting.Add((matches, found));
        }

        return found.Task;
    }
}
