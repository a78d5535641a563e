using System.Diagnostics;
using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// Examines a vhost-user back-end: plays a front-end in hundreds of small cases, each with a connection and memory of its own, and gives a verdict on each. No guest, no root.
/// </summary>
/// <remarks>Threading: one run at a time; the progress is reported from the run.</remarks>
public sealed class BackendSuite
{
    private readonly BackendSuiteOptions _options;

    /// <summary>Makes a suite for one back-end.</summary>
    /// <param name="options">Where it is and how it is examined.</param>
    /// <exception cref="ArgumentException">The device is unknown, or no case has the pattern.</exception>
    public BackendSuite(BackendSuiteOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Device != "auto" && DeviceModel.ByName(options.Device) is null)
            throw new ArgumentException($"Device '{options.Device}': must be auto or one of {string.Join(", ", DeviceModel.All.Select(static model => model.Name))}.", nameof(options));
        if (!Cases.Any(description => CasePattern.Matches(options.Only, description.Id)))
            throw new ArgumentException($"No case has the pattern '{options.Only}'.", nameof(options));
        _options = options;
    }

    /// <summary>All cases, in the order in which they run.</summary>
    public static IReadOnlyList<ConformanceCase> Cases { get; } = [.. BackendChapters.All.Select(static examined => examined.Description)];

    /// <summary>Runs the cases that were asked for.</summary>
    /// <param name="progress">Hears of each finding at once; may be null.</param>
    /// <param name="cancellationToken">Ends the run after the case that is under way.</param>
    /// <returns>The findings.</returns>
    /// <exception cref="VhostUserException">Nobody listens on the socket, or who does speaks no vhost-user.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public async Task<ConformanceReport> RunAsync(IProgress<ConformanceResult>? progress = null, CancellationToken cancellationToken = default)
    {
        DateTimeOffset startedAt = DateTimeOffset.Now;
        long begun = Stopwatch.GetTimestamp();
        BackendProfile profile = await BackendProfiler.AskAsync(_options).ConfigureAwait(false);
        BackendExamination examination = new(_options);
        List<ConformanceResult> results = [];
        foreach (BackendCase examined in BackendChapters.All.Where(examined => CasePattern.Matches(_options.Only, examined.Description.Id)))
        {
            cancellationToken.ThrowIfCancellationRequested();
            ConformanceResult result = await examination.RunAsync(examined, profile).ConfigureAwait(false);
            results.Add(result with { Command = CommandFor(examined.Description, profile) });
            progress?.Report(results[^1]);
        }

        return new ConformanceReport
        {
            Peer = Describe(profile),
            Results = results,
            StartedAt = startedAt,
            Elapsed = Stopwatch.GetElapsedTime(begun),
            Seed = _options.Seed,
            Restarts = examination.Restarts,
            Environment = RunEnvironment.Describe(),
        };
    }

    private ConformancePeer Describe(BackendProfile profile) => new()
    {
        Role = "back-end",
        Socket = _options.SocketPath,
        Device = profile.Device.Name,
        Program = profile.Program,
        Features = FeatureNames.Describe(profile.Features),
        ProtocolFeatures = FeatureNames.Describe(profile.Protocol),
        Queues = profile.Queues,
    };

    private string CommandFor(ConformanceCase description, BackendProfile profile) => string.Create(
        CultureInfo.InvariantCulture,
        $"vhost-user test --socket {ShellWord.Of(_options.SocketPath)} --device {profile.Device.Name} --only {description.Id} --seed {_options.Seed} --timeout {_options.Timeout.TotalSeconds:0.###}");
}
