using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Vhost.Backend.Hosting;
using VhostBackend1;

HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { Args = args, ContentRootPath = AppContext.BaseDirectory });
builder.Services.AddVhostUserBackend("device", builder.Configuration.GetSection("VhostUser:device"), _ => new Device());
builder.Services.AddHealthChecks().AddVhostUserBackend("device");
builder.Services.AddVhostUserSystemdNotifications();
await builder.Build().RunAsync();
