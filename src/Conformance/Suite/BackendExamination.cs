using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Runs one case after the other and looks after each whether the back-end still serves.</summary>
internal sealed class BackendExamination(BackendSuiteOptions options)
{
    private readonly Patience _patience = new(options.Timeout);
    private string? _gone;

    /// <summary>How often the back-end was started again.</summary>
    public int Restarts { get; private set; }

    public async Task<ConformanceResult> RunAsync(BackendCase examined, BackendProfile profile)
    {
        if ((examined.Needs.Missing(profile) ?? _gone) is { } reason)
            return CaseFinding.Skipped(examined.Description, reason);
        Dialogue dialogue = new();
        long begun = Stopwatch.GetTimestamp();
        CaseFinding finding = await PlayAsync(examined, profile, dialogue).ConfigureAwait(false);
        finding = await AfterwardsAsync(examined, profile, dialogue, finding).ConfigureAwait(false);
        return finding.Of(examined.Description, dialogue, Stopwatch.GetElapsedTime(begun));
    }

    private async Task<CaseFinding> PlayAsync(BackendCase examined, BackendProfile profile, Dialogue dialogue)
    {
        try
        {
            BackendPeer peer = await BackendPeer.ConnectAsync(options.SocketPath, profile, examined.Needs, dialogue, _patience, options.Seed).ConfigureAwait(false);
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
        catch (Exception failure) when (failure is VhostUserException)
        {
            return new(ConformanceVerdict.Fail, "a connection", failure.Message);
        }
        catch (Exception failure) when (failure is not OutOfMemoryException)
        {
            // Nothing that a peer says may end the run; what the case did not think of is a fault of the case, and says so.
            return new(ConformanceVerdict.Fail, "what the case can judge", $"the case itself failed: {failure.GetType().Name}: {failure.Message}");
        }
    }

    /// <summary>A case of which the back-end does not recover has failed, whatever it found itself.</summary>
    private async Task<CaseFinding> AfterwardsAsync(BackendCase examined, BackendProfile profile, Dialogue dialogue, CaseFinding finding)
    {
        const string expected = "the back-end serves the next front-end";
        CaseFinding service = await ServiceCheck.RunAsync(options.SocketPath, profile, dialogue, _patience).ConfigureAwait(false);
        if (service.Verdict == ConformanceVerdict.Pass)
            return finding;
        await RestartAsync(examined.Description.Id, profile).ConfigureAwait(false);
        string before = finding.Came.Length == 0 ? "" : $"{finding.Came}; then ";
        return new(service.Verdict, finding.Verdict == ConformanceVerdict.Fail ? finding.Expected : expected, before + service.Came) { Lost = true };
    }

    private async Task RestartAsync(string id, BackendProfile profile)
    {
        if (options.RestartCommand is not { } command)
        {
            _gone = $"the back-end is gone since {id}, and there is no --restart-command";
            return;
        }

        Restarts++;
        string? failure = await RestartCommand.RunAsync(command).ConfigureAwait(false);
        CaseFinding service = failure is null
            ? await ServiceCheck.RunAsync(options.SocketPath, profile, new Dialogue(), _patience).ConfigureAwait(false)
            : new(ConformanceVerdict.Fail, "", failure);
        if (service.Verdict != ConformanceVerdict.Pass)
            _gone = $"the back-end is gone since {id}, and the restart command did not bring it back: {service.Came}";
    }
}
