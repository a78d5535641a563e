using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Runs one case after the other and looks after each whether the back-end still serves.</summary>
internal sealed class BackendExamination(BackendSuiteOptions options, BackendProfile profile)
{
    private readonly Patience _patience = new(options.Timeout);
    private string? _gone;
    private ExaminedCase? _before;

    /// <summary>How long a case may take with all its steps.</summary>
    public TimeSpan MostOfACase { get; init; } = new Patience(options.Timeout).Case;

    /// <summary>How often the back-end was started again.</summary>
    public int Restarts { get; private set; }

    /// <summary>A finding of the case before that has changed because of what the last one met; null: none has.</summary>
    public ConformanceResult? Amended { get; private set; }

    /// <summary>Gives a verdict on one case. A case that is given up by <paramref name="cancellationToken"/> ends by itself, within the time that it waits for answers.</summary>
    public async Task<ConformanceResult> RunAsync(BackendCase examined, CancellationToken cancellationToken)
    {
        Amended = null;
        if ((examined.Needs.Missing(profile) ?? _gone) is { } reason)
            return CaseFinding.Skipped(examined.Description, reason);
        ExaminedCase now = new(examined);
        await MeetAsync(now, cancellationToken).ConfigureAwait(false);
        if (now.Service.Verdict != ConformanceVerdict.Pass)
            await LostAsync(now, cancellationToken).ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        _before = now.Finding.Lost ? null : now;
        return now.Result();
    }

    /// <summary>The case, and whether the back-end serves afterwards.</summary>
    private async Task MeetAsync(ExaminedCase now, CancellationToken cancellationToken)
    {
        now.Finding = await BoundedAsync(PlayAsync(now.Case, now.Dialogue), cancellationToken).ConfigureAwait(false);
        now.NotePeer();
        now.Service = await CheckAsync(now.Dialogue, cancellationToken).ConfigureAwait(false);
        if (!now.Service.IsOfTheSuite)
            return;
        now.Finding = now.Finding.Verdict == ConformanceVerdict.Fail ? now.Finding : now.Service;
        now.Service = new(ConformanceVerdict.Pass, "", "") { IsOfTheSuite = true };
    }

    private async Task<CaseFinding> CheckAsync(Dialogue dialogue, CancellationToken cancellationToken)
    {
        try
        {
            return await ServiceCheck.RunAsync(options.SocketPath, profile, dialogue, options.Timeout).WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is not (OutOfMemoryException or OperationCanceledException))
        {
            return CaseFinding.OfTheSuite(failure);
        }
    }

    /// <summary>Each step of a case has its patience; one that a peer keeps busy all the same is given up.</summary>
    private async Task<CaseFinding> BoundedAsync(Task<CaseFinding> play, CancellationToken cancellationToken)
    {
        try
        {
            return await play.WaitAsync(MostOfACase, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            return CaseFinding.GivenUp(MostOfACase);
        }
    }

    private async Task<CaseFinding> PlayAsync(BackendCase examined, Dialogue dialogue)
    {
        BackendPeer peer;
        try
        {
            peer = await BackendPeer.ConnectAsync(options.SocketPath, profile, examined.Needs, dialogue, _patience, options.Seed).ConfigureAwait(false);
        }
        catch (VhostUserException failure) when (!OwnFault.Is(failure))
        {
            return new(ConformanceVerdict.Fail, "a connection", failure.Message) { IsUnmet = true };
        }
        catch (Exception failure) when (failure is not OutOfMemoryException)
        {
            // Nothing that a peer says may end the run.
            return CaseFinding.OfTheSuite(failure);
        }

        return await PlayAsync(examined, peer).ConfigureAwait(false);
    }

    private static async Task<CaseFinding> PlayAsync(BackendCase examined, BackendPeer peer)
    {
        try
        {
            await using (peer.ConfigureAwait(false))
            {
                await examined.RunAsync(peer).ConfigureAwait(false);
                return peer.Refusal is { } refusal
                    ? new(ConformanceVerdict.Reject, examined.Description.Title, refusal)
                    : new(ConformanceVerdict.Pass, "", "");
            }
        }
        catch (CaseEndedException ended)
        {
            return new(ended.Verdict, ended.Expected, ended.Came) { IsHarm = ended.IsHarm };
        }
        catch (VhostUserException failure) when (!OwnFault.Is(failure))
        {
            return new(ConformanceVerdict.Fail, "a connection", failure.Message);
        }
        catch (Exception failure) when (failure is not OutOfMemoryException)
        {
            return CaseFinding.OfTheSuite(failure);
        }
    }

    /// <summary>
    /// A case of which the back-end does not recover has failed, whatever it found itself. But one that failed, and to which the back-end said nothing from the beginning, may have met a dead one: what the case before
    /// did can show only after its own check. Such a case is run again at the back-end that was started again, and if that one survives it, the case before is the one that has failed.
    /// </summary>
    private async Task LostAsync(ExaminedCase now, CancellationToken cancellationToken)
    {
        ExaminedCase? suspect = now.PeerSpoke || now.Finding.Verdict == ConformanceVerdict.Pass ? null : _before;
        bool unmet = suspect is not null && now.Finding.IsUnmet;
        await RestartAsync(unmet ? suspect!.Id : now.Id, cancellationToken).ConfigureAwait(false);
        if (suspect is null)
            now.Blame();
        else if (_gone is null)
            await AgainAsync(now, suspect, cancellationToken).ConfigureAwait(false);
        else if (unmet)
            Acquit(now, suspect, new(ConformanceVerdict.Skip, "", _gone), now.Service);
        else
            now.Blame();
    }

    private async Task AgainAsync(ExaminedCase now, ExaminedCase suspect, CancellationToken cancellationToken)
    {
        CaseFinding first = now.Service;
        now.Dialogue.Note($"the back-end said nothing from the beginning of this case: it may have been lost after {suspect.Id}. The case is run again, at the back-end that was started again");
        await MeetAsync(now, cancellationToken).ConfigureAwait(false);
        if (now.Finding.IsOfTheSuite || now.Service.IsOfTheSuite)
            return; // who is to blame was not found out
        if (now.Service.Verdict == ConformanceVerdict.Pass)
        {
            Acquit(now, suspect, now.Finding, first);
            return;
        }

        await RestartAsync(now.Id, cancellationToken).ConfigureAwait(false);
        now.Blame();
    }

    private void Acquit(ExaminedCase now, ExaminedCase suspect, CaseFinding finding, CaseFinding service)
    {
        now.Finding = finding;
        suspect.Dialogue.Note($"the back-end served once more, and did not when {now.Id} began");
        suspect.Service = service with { Came = $"{service.Came}; it was found by {now.Id}, which is not to blame" };
        suspect.Blame();
        Amended = suspect.Result();
    }

    private async Task RestartAsync(string id, CancellationToken cancellationToken)
    {
        if (options.RestartCommand is not { } command)
        {
            _gone = $"the back-end is gone since {id}, and there is no --restart-command";
            return;
        }

        Restarts++;
        string? failure = await RestartCommand.RunAsync(command, cancellationToken).ConfigureAwait(false);
        CaseFinding service = failure is null
            ? await CheckAsync(new Dialogue(), cancellationToken).ConfigureAwait(false)
            : new(ConformanceVerdict.Fail, "", failure);
        if (service.Verdict != ConformanceVerdict.Pass)
            _gone = $"the back-end is gone since {id}, and the restart command did not bring it back: {service.Came}";
    }
}
