using System.Diagnostics.CodeAnalysis;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>
/// What must hold after every test of a back-end that lies: the process lives, a fresh and well-behaved back-end is used, and descriptors and mappings are back
/// where they were. Classes that derive from this belong to the collection <see cref="ProcessCounts.Name"/>.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "xunit calls DisposeAsync.")]
public abstract class CountedTests : IAsyncLifetime
{
    private readonly ProcessCounts _before = ProcessCounts.Snapshot();
    private TestRings? _rings;

    /// <summary>Made when first asked for, and disposed before descriptors and mappings are counted.</summary>
    private protected TestRings Rings => _rings ??= new TestRings();

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await using (Dialogue fresh = await Dialogue.StartAsync())
            await fresh.Session.ReadConfigAsync(0, new byte[4]);
        _rings?.Dispose();
        _before.AssertBack();
    }
}
