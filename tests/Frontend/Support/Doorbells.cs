namespace Vhost.Frontend.Tests;

/// <summary>A hypervisor that uses every page, and may misbehave.</summary>
internal sealed class Doorbells : IHostNotifierUser
{
    private readonly Lock _gate = new();
    private readonly List<HostNotifierPage> _pages = [];

    public IReadOnlyList<HostNotifierPage> Pages
    {
        get
        {
            lock (_gate)
                return [.. _pages];
        }
    }

    /// <summary>Throws when a page goes, which it does not use any more all the same.</summary>
    public bool FailsToRemove { get; init; }

    /// <summary>Asked to use a page it tells so (<see cref="Asked"/>) and waits for this.</summary>
    public Task? Holds { get; set; }

    public TaskCompletionSource Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public bool TryUse(HostNotifierPage page)
    {
        Asked.TrySetResult();
        Holds?.Wait();
        lock (_gate)
            _pages.Add(page);
        return true;
    }

    public void Remove(HostNotifierPage page)
    {
        lock (_gate)
            _pages.Remove(page).Should().BeTrue();
        if (FailsToRemove)
            throw new InvalidOperationException("of the hypervisor");
    }
}
