using System.Diagnostics;
using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// Examines a vhost-user back-end: plays a front-end in hundreds of small cases, each with a connection and memory of its own, and gives a verdict on each. No guest, no root.
/// </summary>
/// <remarks>Threading: one run at a time. The progress is called from the run, on whichever thread that is on, for one finding after the other; the run waits until the call returns, so that one that takes long delays the next case, and one that throws ends the run.</remarks>
public sealed class BackendSuite
{
    private readonly BackendSuiteOptions _options;

    /// <summary>Makes a suite for one back-end.</summary>
    /// <param name="options">Where it is and how it is examined.</param>
    /// <exception cref="ArgumentException">The path is empty or too long, the device unknown, the timeout or the seed out of range, or no case is meant by the pattern.</exception>
    public BackendSuite(BackendSuiteOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        RunLimits.Check(options.SocketPath, options.Device, Devices, options.Timeout);
        RunLimits.Check(options.Seed);
        Selected = ConformanceCase.Select(Cases, options.Only);
        _options = options;
    }

    /// <summary>All cases, in the order in which they run.</summary>
    public static IReadOnlyList<ConformanceCase> Cases { get; } = [.. BackendChapters.All.Select(static examined => examined.Description)];

    /// <summary>The words for <see cref="BackendSuiteOptions.Device"/>.</summary>
    public static IReadOnlyList<string> Devices { get; } = ["auto", .. DeviceModel.All.Select(static model => model.Name)];

    /// <summary>The cases that were asked for, in the order in which they run.</summary>
    public IReadOnlyList<ConformanceCase> Selected { get; }

    /// <summary>Asks the back-end what it is and offers, as each run does before its first case.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">Nobody listens on the socket, or who does speaks no vhost-user.</exception>
    /// <exception cref="OperationCanceledException">It was given up.</exception>
    public async Task<ConformancePeer> AskAsync(CancellationToken cancellationToken = default) =>
        Describe(await BackendProfiler.AskAsync(_options).WaitAsync(cancellationToken).ConfigureAwait(false));

    /// <summary>Runs the cases that were asked for.</summary>
    /// <param name="progress">Hears of each finding at once, and of the case before once more where what that one did shows only now: the last word counts. May be null.</param>
    /// <param name="cancellationToken">
    /// Stops the run. The case that is under way is given up and not judged, the ones behind it are not run; the report has them as skipped, and says that it was stopped. What the given-up case still
    /// waits for ends within the time of <see cref="BackendSuiteOptions.Timeout"/>.
    /// </param>
    /// <returns>The findings.</returns>
    /// <exception cref="VhostUserException">Nobody listens on the socket, or who does speaks no vhost-user.</exception>
    /// <exception cref="OperationCanceledException">The run was stopped before the back-end had said what it is.</exception>
    public async Task<ConformanceReport> RunAsync(IProgress<ConformanceResult>? progress = null, CancellationToken cancellationToken = default)
    {
        DateTimeOffset startedAt = DateTimeOffset.Now;
        long begun = Stopwatch.GetTimestamp();
        BackendProfile profile = await BackendProfiler.AskAsync(_options).WaitAsync(cancellationToken).ConfigureAwait(false);
        BackendExamination examination = new(_options, profile);
        RunFindings findings = new(Selected, progress, description => CommandFor(description, profile));
        await RunAsync(examination, findings, cancellationToken).ConfigureAwait(false);
        return new ConformanceReport
        {
            Peer = Describe(profile),
            Results = findings.Results,
            StartedAt = startedAt,
            Elapsed = Stopwatch.GetElapsedTime(begun),
            Seed = _options.Seed,
            Restarts = examination.Restarts,
            Stopped = findings.Stopped,
            Environment = RunEnvironment.Describe(),
        };
    }

    private async Task RunAsync(BackendExamination examination, RunFindings findings, CancellationToken cancellationToken)
    {
        HashSet<ConformanceCase> selected = [.. Selected];
        try
        {
            foreach (BackendCase examined in BackendChapters.All.Where(examined => selected.Contains(examined.Description)))
            {
                findings.Begin(cancellationToken);
                ConformanceResult found = await examination.RunAsync(examined, cancellationToken).ConfigureAwait(false);
                if (examination.Amended is { } amended)
                    findings.Amend(amended);
                findings.Add(found);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            findings.Stop();
        }
    }

    private ConformancePeer Describe(BackendProfile profile) => new()
    {
        Role = "back-end",
        Socket = _options.SocketPath,
        Device = profile.Device.Name,
        Program = profile.Program,
        Features = FeatureNames.Describe(profile.Features, DeviceFeatureNames.Of(profile.Device.Name)),
        ProtocolFeatures = FeatureNames.Describe(profile.Protocol),
        Queues = profile.Queues,
    };

    private string CommandFor(ConformanceCase description, BackendProfile profile) => string.Create(
        CultureInfo.InvariantCulture,
        $"vhost-user test --socket {ShellWord.Of(_options.SocketPath)} --device {profile.Device.Name} --only {description.Id} --seed {_options.Seed} --timeout {_options.Timeout.TotalSeconds:0.###}");
}
