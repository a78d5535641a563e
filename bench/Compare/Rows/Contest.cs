namespace Vhost.Bench.Compare;

/// <summary>Something that ours and a peer both do. One contest gives one row or several.</summary>
internal abstract class Contest
{
    protected const int UsualRounds = 5;

    /// <summary>What its runs give. Rows without a peer need only our runs.</summary>
    internal abstract IReadOnlyList<RowPlan> Rows { get; }

    internal virtual int Rounds => UsualRounds;

    /// <summary>The peer's command when it is known before it ran.</summary>
    internal virtual string? PeerCommand => null;

    /// <summary>Rows of a quick look.</summary>
    internal virtual bool IsQuick => true;

    /// <summary>Finds out what the peer does best. Not measured.</summary>
    internal virtual Task PrepareAsync(Workbench bench) => Task.CompletedTask;

    internal abstract Task<Sample> RunOursAsync(Workbench bench);

    internal abstract Task<Sample> RunPeerAsync(Workbench bench);
}
